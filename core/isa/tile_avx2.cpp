// The tile kernels for avx2.
#include <rewind/core/simd/tile_kernels.inl.hpp>

namespace rw::simd {
static_assert(compiled_for == Isa::avx2, "this file needs the compiler flags of avx2");
constinit const TileKernels tile_kernels_avx2 = make_kernels();
}  // namespace rw::simd
