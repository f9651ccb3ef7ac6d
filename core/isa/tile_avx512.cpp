// The tile kernels for avx512.
#include <rewind/core/simd/tile_kernels.inl.hpp>

namespace rw::simd {
static_assert(compiled_for == Isa::avx512, "this file needs the compiler flags of avx512");
constinit const TileKernels tile_kernels_avx512 = make_kernels();
}  // namespace rw::simd
