#include <cstdlib>
#include <rewind/core/isa.hpp>
#include <rewind/core/simd/tile_kernels.hpp>
#include <string>

#include "support.hpp"

using namespace rw;

TEST_CASE("isa: names") {
  CHECK(std::string(name(Isa::sse2)) == "sse2");
  CHECK(std::string(name(Isa::avx2)) == "avx2");
  CHECK(std::string(name(Isa::avx512)) == "avx512");
}

TEST_CASE("isa: without a wish it is the best that the processor has") {
  for (const char* wish : {static_cast<const char*>(nullptr), ""}) {
    Isa best = choose_isa(wish);
    CHECK(supported(best));
    for (Isa other : {Isa::sse2, Isa::avx2, Isa::avx512}) CHECK((other <= best || !supported(other)));
  }
}

TEST_CASE("isa: the forced one is chosen, or refused in words") {
  for (Isa each : {Isa::sse2, Isa::avx2, Isa::avx512}) {
    if (supported(each)) {
      CHECK(choose_isa(name(each)) == each);
      continue;
    }
    MESSAGE("NOT RUN: this processor lacks ", std::string(name(each)));
    std::string rest = supported(Isa::avx2) ? "avx2, sse2" : "sse2";
    if (each == Isa::avx512)
      CHECK(test::error_text<ValueError>([] { return choose_isa("avx512"); }) ==
            "REWIND_ISA: this processor lacks the instruction set: it names avx512 (leave it empty, or give one of " + rest + ")");
  }
  CHECK(test::error_text<ValueError>([] { return choose_isa("avx3"); }) ==
        "REWIND_ISA: no such instruction set: it names 'avx3' (give one of avx512, avx2, sse2)");
}

TEST_CASE("isa: the kernel table in use was compiled for the chosen set") {
  const char* wish = std::getenv("REWIND_ISA");
  if (wish && *wish) CHECK(std::string(name(isa())) == wish);
  CHECK(simd::tile_kernels(isa()).isa == isa());
  for (Isa each : {Isa::sse2, Isa::avx2, Isa::avx512}) CHECK(simd::tile_kernels(each).isa == each);
}
