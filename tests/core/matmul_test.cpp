#include <rewind/core/matmul.hpp>

#include <doctest/doctest.h>
#include <malloc.h>
#include <rewind/core/isa.hpp>
#include <rewind/core/matmul_kernels.hpp>
#include <rewind/core/team.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <support.hpp>
#include <thread>
#include <vector>

#include "numbers.hpp"

using namespace rw;
using namespace rw::test;
using detail::Product;
using detail::ProductKernels;

namespace {

/// The one chain that defines an element: fused, but on SSE2.
template <class T>
T chain(T a, T b, T c, Isa isa) {
  return isa == Isa::sse2 ? a * b + c : std::fma(a, b, c);
}

/// The product of dense a [m,k] and b [k,n] by plain loops, element by element.
template <class T>
std::vector<T> reference(Index m, Index n, Index k, const std::vector<T>& a, const std::vector<T>& b, std::vector<T> c, Isa isa) {
  for (Index i = 0; i < m; ++i)
    for (Index s = 0; s < k; ++s)
      for (Index j = 0; j < n; ++j) {
        T& to = c[static_cast<std::size_t>(i * n + j)];
        to = chain(a[static_cast<std::size_t>(i * k + s)], b[static_cast<std::size_t>(s * n + j)], to, isa);
      }
  return c;
}

/// Dense values laid out with other strides, in memory that ends with the last element.
template <class T>
struct Laid {
  std::vector<T> memory;
  Index row, column;
  Laid(const std::vector<T>& dense, Index rows, Index columns, int form) {
    row = form == 0 ? columns + 1 : form == 1 ? 1 : 2 * columns + 1;
    column = form == 0 ? 1 : form == 1 ? rows + 1 : 2;
    if (rows > 0 && columns > 0) memory.assign(static_cast<std::size_t>((rows - 1) * row + (columns - 1) * column + 1), T(777));
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < columns; ++j)
        memory[static_cast<std::size_t>(i * row + j * column)] = dense[static_cast<std::size_t>(i * columns + j)];
  }
};
constexpr const char* forms[] = {"rows", "columns", "strided"};

/// A product of the given operands by a table, in a C with room on all sides that must stay as it was.
template <class T>
std::vector<T> run(const ProductKernels<T>& kernels, Product<T> p, const std::vector<T>& start) {
  const Index row = p.n + 3;
  std::vector<T> memory(static_cast<std::size_t>(p.m * row + 3), T(-55));
  for (Index i = 0; i < p.m; ++i)
    for (Index j = 0; j < p.n; ++j) memory[static_cast<std::size_t>(3 + i * row + j)] = start[static_cast<std::size_t>(i * p.n + j)];
  p.c = memory.data() + 3;
  p.c_row = row;
  detail::run_product(kernels, p, false);
  std::vector<T> c;
  bool clean = true;
  for (Index at = 0; at < static_cast<Index>(memory.size()); ++at)
    if (at >= 3 && (at - 3) % row < p.n)
      c.push_back(memory[static_cast<std::size_t>(at)]);
    else
      clean = clean && memory[static_cast<std::size_t>(at)] == T(-55);
  if (!clean) c.clear();  // no comparison will hold
  return c;
}

/// All layouts of both operands, packed and not, from 0 and from C, against the chain. Returns what differed.
template <class T>
std::string differences(Isa isa, Index m, Index n, Index k) {
  const auto& kernels = detail::product_table(isa).of<T>();
  const auto a = numbers<T>(m * k, 1), b = numbers<T>(k * n, 2), c = numbers<T>(m * n, 3);
  const auto from_zero = reference(m, n, k, a, b, std::vector<T>(c.size()), isa), from_c = reference(m, n, k, a, b, c, isa);
  for (int left = 0; left < 3; ++left)
    for (int right = 0; right < 4; ++right)
      for (bool accumulate : {false, true}) {
        const Laid<T> la(a, m, k, left), lb(b, k, n, right % 3);
        std::vector<T> panels(static_cast<std::size_t>(detail::panel_elements(kernels, k, n)));
        Product<T> p{
            m,       n, k,         {la.memory.data(), la.column, la.row, k, 0}, {lb.memory.data(), lb.row, lb.column, k, 0}, nullptr,
            nullptr, 0, accumulate};
        if (right == 3) {
          if (k > 0) detail::fill_panels(kernels, p.b, 0, k, 0, n, panels.data(), k * kernels.columns);
          p.panels = panels.data();
        }
        if (!same(run(kernels, p, c), accumulate ? from_c : from_zero))
          return std::string(name(isa)) + " " + name(dtype_of<T>()) + ": m " + std::to_string(m) + ", n " + std::to_string(n) + ", k " +
                 std::to_string(k) + ", left in " + forms[left] + ", right " + (right == 3 ? "packed" : forms[right]) +
                 (accumulate ? ", from C" : "");
      }
  return "";
}

}  // namespace

TEST_CASE_TEMPLATE("matmul: every tail size, layout and start is the chain, bit for bit, on every instruction set", T, float, double) {
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    std::string wrong;
    for (Index m = 1; m <= 2 * kernels.rows + 1; ++m)
      for (Index n = 1; n <= 2 * kernels.columns + 1; ++n)
        for (Index k : {0, 1, 2, 3, 4, 5, 19}) {
          if (k == 19 && (m + n) % 5) continue;
          if (wrong.empty()) wrong = differences<T>(isa, m, n, k);
        }
    CHECK(wrong == "");
  });
}

TEST_CASE_TEMPLATE("matmul: sizes past every block of the caches are the same chain", T, float, double) {
  each_isa([](Isa isa) {
    CHECK(differences<T>(isa, 1, 131, 1100) == "");
    CHECK(differences<T>(isa, 5, 70, 1100) == "");
    CHECK(differences<T>(isa, 70, 37, 530) == "");
    CHECK(differences<T>(isa, 7, 400, 300) == "");
    CHECK(differences<T>(isa, 300, 21, 270) == "");
    CHECK(differences<T>(isa, 3, 1030, 1030) == "");
    CHECK(differences<T>(isa, 1100, 21, 90) == "");
  });
}

TEST_CASE_TEMPLATE("matmul: blocks of rows that outgrow the cache have the bits of a packed product", T, float, double) {
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    for (auto [m, n, k] : {std::array<Index, 3>{400, 400, 750}, {330, 70, 450}, {1100, 150, 720}}) {
      const auto a = numbers<T>(m * k, 1), b = numbers<T>(k * n, 2), c = numbers<T>(m * n, 3);
      std::vector<T> panels(static_cast<std::size_t>(detail::panel_elements(kernels, k, n)));
      detail::fill_panels(kernels, {b.data(), n, 1, k, 0}, 0, k, 0, n, panels.data(), k * kernels.columns);
      const Product<T> packed{m, n, k, {a.data(), 1, k, k, 0}, {}, panels.data(), nullptr, 0, true};
      const auto expected = run(kernels, packed, c);
      for (int left = 0; left < 3; ++left)
        for (int right = 0; right < 3; ++right) {
          const Laid<T> la(a, m, k, left), lb(b, k, n, right);
          CAPTURE(forms[left]);
          CAPTURE(forms[right]);
          CHECK(same(run(kernels,
                         {m,
                          n,
                          k,
                          {la.memory.data(), la.column, la.row, k, 0},
                          {lb.memory.data(), lb.row, lb.column, k, 0},
                          nullptr,
                          nullptr,
                          0,
                          true},
                         c),
                     expected));
        }
    }
  });
}

TEST_CASE_TEMPLATE("matmul: within the rounding of a chain of the product in higher precision", T, float, double) {
  const Index m = 9, n = 35, k = 301;
  const auto a = numbers<T>(m * k, 4), b = numbers<T>(k * n, 5);
  std::vector<T> c(static_cast<std::size_t>(m * n));
  matmul(dtype_of<T>(), m, n, k, {a.data(), k, 1}, {b.data(), n, 1}, c.data(), n, false, false);
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) {
      long double sum = 0, size = 0;
      for (Index s = 0; s < k; ++s) {
        const long double term = static_cast<long double>(a[static_cast<std::size_t>(i * k + s)]) * b[static_cast<std::size_t>(s * n + j)];
        sum += term;
        size += std::abs(term);
      }
      // k + 1 roundings (twice as many on SSE2) of partial sums that are at most `size`
      const long double bound = 2 * (k + 1) * static_cast<long double>(std::numeric_limits<T>::epsilon()) / 2 * size;
      const long double error = std::abs(c[static_cast<std::size_t>(i * n + j)] - sum);
      CHECK(static_cast<bool>(error <= bound));
    }
}

TEST_CASE_TEMPLATE("matmul: NaN and infinity reach the elements that depend on them and no others", T, float, double) {
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    const Index m = 8, n = kernels.columns + 5, k = 6;
    auto a = numbers<T>(m * k, 6), b = numbers<T>(k * n, 7);
    a[2 * 6 + 3] = std::numeric_limits<T>::quiet_NaN();
    a[5 * 6 + 1] = std::numeric_limits<T>::infinity();
    b[static_cast<std::size_t>(1 * n + n - 1)] = 0;  // infinity times 0
    b[static_cast<std::size_t>(4 * n + 2)] = -std::numeric_limits<T>::infinity();
    const std::vector<T> start(static_cast<std::size_t>(m * n));
    const Product<T> p{m, n, k, {a.data(), 1, k, k, 0}, {b.data(), n, 1, k, 0}, nullptr, nullptr, 0, false};
    const auto c = run(kernels, p, start);
    CHECK(same(c, reference(m, n, k, a, b, start, isa)));
    for (Index j = 0; j < n; ++j) CHECK(std::isnan(c[static_cast<std::size_t>(2 * n + j)]));
    CHECK(std::isnan(c[static_cast<std::size_t>(5 * n + n - 1)]));
    CHECK(std::isinf(c[static_cast<std::size_t>(5 * n)]));
    CHECK(std::isinf(c[2]));
    CHECK(std::isfinite(c[static_cast<std::size_t>(n - 1)]));
  });
}

TEST_CASE_TEMPLATE("matmul: strides of 0 and below 0 are read", T, float, double) {
  const Index m = 20, n = 40, k = 30;
  const auto a = numbers<T>(m * k, 8), b = numbers<T>(k * n, 9);
  auto flipped = a, repeated = b;
  for (Index i = 0; i < m; ++i)
    for (Index s = 0; s < k; ++s) flipped[static_cast<std::size_t>(i * k + s)] = a[static_cast<std::size_t>((m - 1 - i) * k + k - 1 - s)];
  for (Index s = 0; s < k; ++s)
    for (Index j = 0; j < n; ++j) repeated[static_cast<std::size_t>(s * n + j)] = b[static_cast<std::size_t>(j)];
  std::vector<T> c(static_cast<std::size_t>(m * n));
  matmul(dtype_of<T>(), m, n, k, {a.data() + m * k - 1, -k, -1}, {b.data(), 0, 1}, c.data(), n, false, false);
  CHECK(same(c, reference(m, n, k, flipped, repeated, std::vector<T>(c.size()), isa())));
}

TEST_CASE_TEMPLATE("matmul_steps: the chain runs over the steps, then over the rows, in either direction", T, float, double) {
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    for (Index rows : {1, 5, 32, 300})
      for (Index m : {3, 50})
        for (bool backward : {false, true}) {
          const Index n = 2 * kernels.columns + 3, steps = 7, k = rows * steps, a_row = m + 2, a_step = rows * a_row + 5, b_step = rows * n;
          const auto a = numbers<T>(steps * a_step, 10), b = numbers<T>(steps * b_step, 11), c = numbers<T>(m * n, 12);
          std::vector<T> stacked_a(static_cast<std::size_t>(m * k)), stacked_b(static_cast<std::size_t>(k * n));
          for (Index r = 0; r < k; ++r) {
            const Index s = backward ? steps - 1 - r / rows : r / rows;
            for (Index i = 0; i < m; ++i)
              stacked_a[static_cast<std::size_t>(i * k + r)] = a[static_cast<std::size_t>(s * a_step + r % rows * a_row + i)];
            for (Index j = 0; j < n; ++j)
              stacked_b[static_cast<std::size_t>(r * n + j)] = b[static_cast<std::size_t>(s * b_step + r % rows * n + j)];
          }
          const T* first_a = a.data() + (backward ? (steps - 1) * a_step : 0);
          const T* first_b = b.data() + (backward ? (steps - 1) * b_step : 0);
          const Index sign = backward ? -1 : 1;
          const Product<T> p{m,       n, k,   {first_a, a_row, 1, rows, sign * a_step}, {first_b, n, 1, rows, sign * b_step}, nullptr,
                             nullptr, 0, true};
          const auto expected = reference(m, n, k, stacked_a, stacked_b, c, isa);
          CHECK(same(run(kernels, p, c), expected));
          if (isa != rw::isa()) continue;
          auto out = c;
          matmul_steps(dtype_of<T>(), m, n, rows, steps, first_a, a_row, sign * a_step, first_b, n, sign * b_step, out.data(), n, true,
                       false);
          CHECK(same(out, expected));
        }
  });
}

TEST_CASE_TEMPLATE("matmul: what is fetched meanwhile changes no bit, and is handed out line by line to its end", T, float, double) {
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    const Index m = 2 * kernels.rows + 1, n = 2 * kernels.columns, k = 300;  // three tiles of rows, two of columns
    const Index lines = 3 * 2 * (k / 4);
    const auto a = numbers<T>(m * k, 1), b = numbers<T>(k * n, 2);
    std::vector<T> panels(b.size());
    detail::fill_panels(kernels, {b.data(), n, 1, k, 0}, 0, k, 0, n, panels.data(), k * kernels.columns);
    const auto expected = reference(m, n, k, a, b, std::vector<T>(static_cast<std::size_t>(m * n)), isa);
    auto left_of = [&](std::vector<Ahead> pieces) {
      std::array<Index, 3> left[2];
      for (bool far : {false, true}) {  // whether the next panel is fetched too
        detail::Fetches f{pieces.data(), static_cast<Index>(pieces.size())};
        std::vector<T> c(expected.size());
        kernels.multiply(
            {m, n, k, {a.data(), 1, k, k, 0}, 0, panels.data(), kernels.columns, k * kernels.columns, c.data(), n, false, far ? n : 0, &f});
        CHECK(same(c, expected));
        left[far] = {f.count, f.row, f.column};
      }
      CHECK(left[0] == left[1]);
      return left[0];
    };
    std::vector<char> memory(static_cast<std::size_t>(lines + 200) * 64);
    using Left = std::array<Index, 3>;
    CHECK(left_of({}) == Left{});
    CHECK(left_of({{memory.data(), 1, 1, 64}}) == Left{});
    CHECK(left_of({{memory.data(), lines, 64, 64}}) == Left{});
    CHECK(left_of({{memory.data(), lines + 100, 64, 64}}) == Left{1, lines, 0});
    CHECK(left_of({{memory.data(), 64, 64, 64}, {memory.data(), lines, 64, 64}}) ==
          Left{1, lines - k / 4, 0});                                  // a tile's time for the first
    CHECK(left_of({{memory.data(), 10, 130, 256}}) == Left{});         // three columns of lines
    CHECK(left_of({{memory.data(), 150, 64 * 20, 64 * 20}})[0] == 1);  // more than there is time for
    CHECK(left_of({{nullptr, 100, 64, 64}}) == Left{});                // fetching never faults
  });
}

TEST_CASE_TEMPLATE("matmul: the same bits for 1, 2 and 3 threads, any split of rows, packed or not", T, float, double) {
  const int before = threads();
  // The fourth has several blocks of rows and of k: threads that pack B's columns in turn wait for each other. Of the last a thread's
  // columns are taken in pieces, and packed columns in two steps of k.
  for (auto [m, n, k] : {std::array<Index, 3>{70, 310, 150}, {1, 2000, 300}, {900, 30, 100}, {1600, 300, 520}, {12, 1300, 800}}) {
    const auto a = numbers<T>(m * k, 13), b = numbers<T>(k * n, 14);
    const Laid<T> across(b, k, n, 1), stacked(a, m, k, 1);
    const auto expected = reference(m, n, k, a, b, std::vector<T>(static_cast<std::size_t>(m * n)), isa());
    const PackedMatrix panels(dtype_of<T>(), k, n, {b.data(), n, 1});
    for (int count : {1, 2, 3}) {
      set_threads(count);
      std::vector<T> c(expected.size());
      auto check = [&](auto&& product) {
        std::fill(c.begin(), c.end(), T(9));
        product(0, m);
        CHECK(same(c, expected));
        std::fill(c.begin(), c.end(), T(9));
        const Index cut = m / 3;
        product(0, cut);
        product(cut, m - cut);
        CHECK(same(c, expected));
      };
      check([&](Index i, Index rows) { matmul(rows, {a.data() + i * k, k, 1}, panels, c.data() + i * n, n, false, true); });
      check([&](Index i, Index rows) {
        matmul(dtype_of<T>(), rows, n, k, {a.data() + i * k, k, 1}, {b.data(), n, 1}, c.data() + i * n, n, false, true);
      });
      check([&](Index i, Index rows) {
        matmul(dtype_of<T>(), rows, n, k, {a.data() + i * k, k, 1}, {across.memory.data(), across.row, across.column}, c.data() + i * n, n,
               false, true);
      });
      check([&](Index i, Index rows) {
        matmul_steps(dtype_of<T>(), rows, n, k / 10, 10, stacked.memory.data() + i, stacked.column, k / 10 * stacked.column, b.data(), n,
                     k / 10 * n, c.data() + i * n, n, false, true);
      });
    }
  }
  set_threads(before);
}

TEST_CASE("matmul: without rows of B the result is 0, or C as it was; without rows or columns nothing is touched") {
  std::vector<float> a(4, 1), c(6, 5);
  matmul(DType::f32, 2, 3, 0, {a.data(), 1, 1}, {a.data(), 3, 1}, c.data(), 3, true, true);
  CHECK(c == std::vector<float>(6, 5));
  matmul(DType::f32, 0, 3, 2, {nullptr, 1, 1}, {a.data(), 1, 1}, c.data(), 3, false, true);
  matmul(DType::f32, 2, 0, 2, {a.data(), 2, 1}, {nullptr, 1, 1}, c.data(), 3, false, true);
  CHECK(c == std::vector<float>(6, 5));
  matmul(DType::f32, 2, 3, 0, {a.data(), 1, 1}, {a.data(), 3, 1}, c.data(), 3, false, true);
  CHECK(c == std::vector<float>(6, 0));
  const PackedMatrix none(DType::f32, 0, 3, {nullptr, 3, 1});
  c.assign(6, 5);
  matmul(2, {nullptr, 0, 1}, none, c.data(), 3, false, true);
  CHECK(c == std::vector<float>(6, 0));
  c.assign(6, 5);
  matmul_steps(DType::f32, 2, 3, 4, 0, nullptr, 2, 8, nullptr, 3, 12, c.data(), 3, false, true);
  CHECK(c == std::vector<float>(6, 0));
}

TEST_CASE("matmul: after the first calls nothing is allocated") {
  const Index m = 64, n = 600, k = 300;
  const auto a = numbers<float>(m * k, 17), b = numbers<float>(n * k, 18);
  std::vector<float> c(static_cast<std::size_t>(m * n));
  auto storage = stored(b);
  auto unpacked = [&](float* to) {
    matmul(DType::f32, m, n, k, {a.data(), 1, m}, {b.data(), 1, k}, to, n, true, true);
    matmul_steps(DType::f32, m, n, k / 10, 10, a.data(), m, k / 10 * m, b.data(), n, k / 10 * n, to, n, true, true);
  };
  auto work = [&] {
    storage->touch();
    matmul(m, {a.data(), k, 1}, packed(*storage.get(), 0, DType::f32, k, n, n, 1), c.data(), n, false, true);
    unpacked(c.data());
  };
  std::atomic<int> ready{0};
  parallel(threads(), [&](int) {  // each thread's own scratch
    unpacked(std::vector<float>(c).data());
    for (++ready; ready < threads();) std::this_thread::yield();
  });
  for (int i = 0; i < 3; ++i) work();
  const auto before = ::mallinfo2().uordblks;
  for (int i = 0; i < 5; ++i) work();
  CHECK(::mallinfo2().uordblks == before);
}

TEST_CASE("matmul: errors") {
  using test::error_text;
  float x[4] = {};
  CHECK(error_text<DTypeError>([&] {
          matmul(DType::i32, 1, 1, 1, {x, 1, 1}, {x, 1, 1}, x, 1, false, false);
        }) == "matmul: dtype must be f32 or f64: got i32 (cast the operands)");
  CHECK(error_text<DTypeError>([&] { matmul_steps(DType::boolean, 1, 1, 1, 1, x, 1, 1, x, 1, 1, x, 1, false, false); }) ==
        "matmul_steps: dtype must be f32 or f64: got bool (cast the operands)");
  CHECK(error_text<DTypeError>([&] {
          PackedMatrix(DType::i64, 1, 1, {x, 1, 1});
        }) == "PackedMatrix: dtype must be f32 or f64: got i64 (cast the operands)");
  CHECK(error_text<DTypeError>([] { peak_flops(DType::i32, 1); }) ==
        "peak_flops: dtype must be f32 or f64: got i32 (those are what products compute in)");
  CHECK(error_text<ValueError>([] { peak_flops(DType::f32, 0); }) == "peak_flops: threads must be from 1 to 1024: got 0");
  CHECK(error_text<ValueError>([] { peak_flops(DType::f32, 1, 0); }) == "peak_flops: bursts must be 1 or more: got 0");
  CHECK(error_text<ValueError>([] { peak_flops(DType::f32, 1, 1, 0); }) == "peak_flops: seconds must be in (0, 60]: got 0");
}

TEST_CASE("matmul: the cases above ran on AVX-512 too" * doctest::skip(!supported(Isa::avx512))) { CHECK(supported(Isa::avx512)); }

TEST_CASE("peak_flops: two dtypes and two threads give rates") {
  CHECK(peak_flops(DType::f32, 1, 2, 0.001) > 1e8);
  CHECK(peak_flops(DType::f64, 2, 2, 0.001) > 1e8);
}
