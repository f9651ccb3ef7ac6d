// A word sits in the lower half of a 64-bit lane: a 32 x 32 -> 64 product wants it there and ignores the upper half, so nothing is
// masked between rounds. Two registers a word are in flight, for the products' latency.
#include <rewind/core/isa.hpp>
#include <rewind/core/philox.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rw {

namespace {

constexpr std::uint32_t multiplier[2] = {0xD2511F53, 0xCD9E8D57}, weyl[2] = {0x9E3779B9, 0xBB67AE85};
constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    std::uint64_t p0 = std::uint64_t{multiplier[0]} * c[0], p1 = std::uint64_t{multiplier[1]} * c[2];
    c = {high(p1) ^ c[1] ^ key[0], low(p1), high(p0) ^ c[3] ^ key[1], low(p0)};
    key[0] += weyl[0];
    key[1] += weyl[1];
  }
  return c;
}

namespace detail {

#if defined(__x86_64__)
namespace {

void words_sse2(RandomKey key, std::uint64_t first, std::uint32_t* out, int eights) {
  const __m128i m0 = _mm_set1_epi64x(multiplier[0]), m1 = _mm_set1_epi64x(multiplier[1]), lower = _mm_set1_epi64x(0xFFFFFFFF);
  for (int i = 0; i < 2 * eights; ++i, first += 4, out += 16) {
    __m128i c[2][4];
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      std::uint64_t block = first + 2 * static_cast<std::uint64_t>(p);
      c[p][0] = _mm_set_epi64x(static_cast<long long>(block + 1), static_cast<long long>(block));
      c[p][1] = _mm_srli_epi64(c[p][0], 32);
      c[p][2] = _mm_set1_epi64x(low(key.stream));
      c[p][3] = _mm_set1_epi64x(high(key.stream));
    }
    std::uint32_t k0 = low(key.seed), k1 = high(key.seed);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round, k0 += weyl[0], k1 += weyl[1])
#pragma GCC unroll 2
      for (int p = 0; p < 2; ++p) {
        __m128i p0 = _mm_mul_epu32(c[p][0], m0), p1 = _mm_mul_epu32(c[p][2], m1);
        c[p][0] = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(p1, 32), c[p][1]), _mm_set1_epi64x(k0));
        c[p][2] = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(p0, 32), c[p][3]), _mm_set1_epi64x(k1));
        c[p][1] = p1;
        c[p][3] = p0;
      }
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      __m128i w01 = _mm_or_si128(_mm_and_si128(c[p][0], lower), _mm_slli_epi64(c[p][1], 32));
      __m128i w23 = _mm_or_si128(_mm_and_si128(c[p][2], lower), _mm_slli_epi64(c[p][3], 32));
      auto* to = reinterpret_cast<__m128i*>(out + 8 * p);
      _mm_storeu_si128(to, _mm_unpacklo_epi64(w01, w23));
      _mm_storeu_si128(to + 1, _mm_unpackhi_epi64(w01, w23));
    }
  }
}

__attribute__((target("avx2"))) void words_avx2(RandomKey key, std::uint64_t first, std::uint32_t* out, int eights) {
  const __m256i m0 = _mm256_set1_epi64x(multiplier[0]), m1 = _mm256_set1_epi64x(multiplier[1]), lower = _mm256_set1_epi64x(0xFFFFFFFF);
  for (int i = 0; i < eights; ++i, first += 8, out += 32) {
    __m256i c[2][4];
    for (int p = 0; p < 2; ++p) {
      auto block = static_cast<long long>(first + 4 * static_cast<std::uint64_t>(p));
      c[p][0] = _mm256_add_epi64(_mm256_set1_epi64x(block), _mm256_set_epi64x(3, 2, 1, 0));
      c[p][1] = _mm256_srli_epi64(c[p][0], 32);
      c[p][2] = _mm256_set1_epi64x(low(key.stream));
      c[p][3] = _mm256_set1_epi64x(high(key.stream));
    }
    std::uint32_t k0 = low(key.seed), k1 = high(key.seed);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round, k0 += weyl[0], k1 += weyl[1])
#pragma GCC unroll 2
      for (int p = 0; p < 2; ++p) {
        __m256i p0 = _mm256_mul_epu32(c[p][0], m0), p1 = _mm256_mul_epu32(c[p][2], m1);
        c[p][0] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c[p][1]), _mm256_set1_epi64x(k0));
        c[p][2] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c[p][3]), _mm256_set1_epi64x(k1));
        c[p][1] = p1;
        c[p][3] = p0;
      }
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      __m256i w01 = _mm256_or_si256(_mm256_and_si256(c[p][0], lower), _mm256_slli_epi64(c[p][1], 32));
      __m256i w23 = _mm256_or_si256(_mm256_and_si256(c[p][2], lower), _mm256_slli_epi64(c[p][3], 32));
      __m256i even = _mm256_unpacklo_epi64(w01, w23), odd = _mm256_unpackhi_epi64(w01, w23);  // blocks 0, 2 and 1, 3
      auto* to = reinterpret_cast<__m256i*>(out + 16 * p);
      _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
      _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
    }
  }
}

}  // namespace
#endif

void philox_words(RandomKey key, std::uint64_t first, std::uint32_t* out, int eights) {
#if defined(__x86_64__)
  isa() == Isa::sse2 ? words_sse2(key, first, out, eights) : words_avx2(key, first, out, eights);
#else
  for (int i = 0; i < 8 * eights; ++i) {
    std::uint64_t block = first + static_cast<std::uint64_t>(i);
    auto words = philox({low(block), high(block), low(key.stream), high(key.stream)}, {low(key.seed), high(key.seed)});
    for (int j = 0; j < 4; ++j) out[4 * i + j] = words[static_cast<std::size_t>(j)];
  }
#endif
}

}  // namespace detail
}  // namespace rw
