// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once

#include <array>
#include <cstdint>
#include <rewind/core/tensor.hpp>

namespace rw {

/// One block of Philox 4x32-10: a counter of 128 bits and a key of 64 bits to 128 random bits.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// What names a stream of random numbers. Element e of a stream depends on the stream and on e alone.
struct RandomKey {
  std::uint64_t seed = 0, stream = 0;
  bool operator==(const RandomKey&) const = default;
};

/// Elements first .. first+n-1 of a stream, uniform in [0, 1): f32 has 24 random bits, f64 has 53.
void fill_uniform(RandomKey key, std::uint64_t first, float* out, Index n);
void fill_uniform(RandomKey key, std::uint64_t first, double* out, Index n);
/// Elements first .. first+n-1 of a stream, standard normal (Box & Muller 1958).
void fill_normal(RandomKey key, std::uint64_t first, float* out, Index n);
void fill_normal(RandomKey key, std::uint64_t first, double* out, Index n);

/// Hands out keys: each call of next() names a stream of its own.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : key_{seed, 0} {}
  RandomKey next() { return {key_.seed, key_.stream++}; }
  RandomKey state() const { return key_; }  ///< what to save, and what to give back to go on
  void restore(RandomKey state) { key_ = state; }

 private:
  RandomKey key_;
};

/// This thread's generator, from which parameters, dropout and shuffles draw.
Generator& generator();

/// Restarts this thread's generator.
void seed(std::uint64_t value);

namespace random {
Tensor uniform(const Shape& shape, double low = 0, double high = 1, DType dtype = DType::f32, Generator& g = generator());
Tensor normal(const Shape& shape, double mean = 0, double deviation = 1, DType dtype = DType::f32, Generator& g = generator());
Tensor bernoulli(const Shape& shape, double probability, DType dtype = DType::f32, Generator& g = generator());  ///< 1 or 0
Tensor permutation(Index n, Generator& g = generator());  ///< i64 [n], Fisher & Yates
}  // namespace random

}  // namespace rw
