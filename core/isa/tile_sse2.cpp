// The tile kernels for sse2.
#include <rewind/core/simd/tile_kernels.inl.hpp>

namespace rw::simd {
static_assert(compiled_for == Isa::sse2, "this file needs the compiler flags of sse2");
constinit const TileKernels tile_kernels_sse2 = make_kernels();
}  // namespace rw::simd
