// Products at the shapes of recurrent nets, in GF/s and as a share of the peak that this machine reaches in the same run.
//
// One line a shape and form; every figure is the best burst within 0.2 s. Forms: packed (right operand packed before), plain (as it lies,
// row-major), transposed (right operand read across), gradient (both operands over time: the sum of A^T B).
#include <fmt/format.h>

#include <rewind/core/matmul.hpp>

#include "ops.hpp"

namespace rw::bench {

namespace {

/// A dense matrix of small numbers.
template <class T>
class Dense {
 public:
  Dense(Index rows, Index columns) : columns_(columns), storage_(StorageRef::allocate(rows * columns * Index(sizeof(T)))) {
    for (Index i = 0; i < rows * columns; ++i) data()[i] = T(i * 7919 % 2003 - 1001) / T(1001);
  }
  T* data() { return reinterpret_cast<T*>(storage_->data()); }
  Index columns() const { return columns_; }
  Matrix rows() { return {data(), columns_, 1}; }
  Matrix transposed() { return {data(), 1, columns_}; }

 private:
  Index columns_;
  StorageRef storage_;
};

struct Bench {
  const Limits& limits;
  bool split = limits.split;
  void line(const char* form, Index m, Index n, Index k, const std::function<void()>& call) const {
    const double seconds = best_seconds(call), rate = 2e-9 * double(m) * double(n) * double(k) / seconds;
    fmt::print("{:<11}{:>6}{:>6}{:>6}{:>11.1f} us{:>9.1f} GF/s{:>7.2f} of peak\n", form, m, k, n, seconds * 1e6, rate,
               rate * 1e9 / limits.flops);
  }
};

template <class T>
void products(const Bench& bench, Index m, Index k, Index n) {
  constexpr DType dtype = dtype_of<T>();
  Dense<T> a(m, k), b(k, n), across(n, k), c(m, n);
  const PackedMatrix panels(dtype, k, n, b.rows());
  bench.line("packed", m, n, k, [&] { matmul(m, a.rows(), panels, c.data(), n, false, bench.split); });
  bench.line("plain", m, n, k, [&] { matmul(dtype, m, n, k, a.rows(), b.rows(), c.data(), n, false, bench.split); });
  bench.line("transposed", m, n, k, [&] { matmul(dtype, m, n, k, a.rows(), across.transposed(), c.data(), n, false, bench.split); });
}

template <class T>
void gradient(const Bench& bench, Index batch, Index steps, Index hidden, Index gates) {
  Dense<T> h(batch * steps, hidden), d(batch * steps, gates), w(hidden, gates);
  bench.line("gradient", hidden, gates, batch * steps, [&] {
    matmul_steps(dtype_of<T>(), hidden, gates, batch, steps, h.data(), hidden, batch * hidden, d.data(), gates, batch * gates, w.data(),
                 gates, true, bench.split);
  });
}

template <class T>
void packing(Index k, Index n) {
  Dense<T> b(k, n), across(n, k);
  PackedMatrix panels(dtype_of<T>(), k, n, b.rows());
  const double plain = best_seconds([&] { panels.refill(b.rows()); }),
               transposed = best_seconds([&] { panels.refill(across.transposed()); });
  fmt::print("pack       {:>6}{:>6}   rows {:.1f} us, transposed {:.1f} us\n", k, n, plain * 1e6, transposed * 1e6);
}

template <class T>
void all(const Bench& bench) {
  for (auto [m, h] : {std::pair<Index, Index>{32, 512},
                      {1, 512},
                      {2, 512},
                      {4, 512},
                      {16, 128},
                      {16, 512},
                      {20, 650},
                      {32, 256},
                      {32, 1024},
                      {128, 512},
                      {1120, 512},
                      {1120, 128},
                      {1120, 1024}})
    products<T>(bench, m, h, 4 * h);
  gradient<T>(bench, 16, 35, 128, 512);
  gradient<T>(bench, 32, 35, 256, 1024);
  gradient<T>(bench, 32, 35, 512, 2048);
  gradient<T>(bench, 20, 35, 650, 2600);
  gradient<T>(bench, 64, 100, 1024, 4096);
  packing<T>(512, 2048);
  packing<T>(2048, 512);
}

}  // namespace

void products(DType dtype, const Limits& limits) {
  fmt::print("{:<11}{:>6}{:>6}{:>6}\n", "form", "M", "K", "N");
  dtype == DType::f64 ? all<double>({limits}) : all<float>({limits});
}

}  // namespace rw::bench
