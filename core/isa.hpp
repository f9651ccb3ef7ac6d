// The instruction set that kernels run on: chosen once, when the first kernel is asked for.
#pragma once

namespace rw {

enum class Isa { sse2, avx2, avx512 };  ///< avx2 means AVX2 with FMA; avx512 means F, BW, CD, DQ and VL

/// The best set that processor and system have, or the one that the environment variable REWIND_ISA names (read at the first call). Throws
/// ValueError if the name is unknown or the processor lacks it.
Isa isa();

/// "sse2", "avx2", "avx512".
const char* name(Isa isa);

/// Whether this processor (and system) can run it.
bool supported(Isa isa);

/// The set that REWIND_ISA=`wanted` asks for; the best one for nullptr or "". Throws like isa().
Isa choose_isa(const char* wanted);

}  // namespace rw
