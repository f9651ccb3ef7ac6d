#include <cstdlib>
#include <rewind/core/format.hpp>
#include <rewind/core/isa.hpp>
#include <string>
#include <string_view>

namespace rw {

namespace {
constexpr Isa all[] = {Isa::avx512, Isa::avx2, Isa::sse2};
}

const char* name(Isa isa) {
  constexpr const char* names[] = {"sse2", "avx2", "avx512"};
  return names[static_cast<int>(isa)];
}

bool supported(Isa isa) {
  __builtin_cpu_init();
  switch (isa) {
    case Isa::sse2: return __builtin_cpu_supports("sse2");
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return supported(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
  return false;
}

Isa choose_isa(const char* wanted) {
  std::string possible;
  for (Isa isa : all) {
    bool can = supported(isa);
    if (can) possible += (possible.empty() ? "" : ", ") + std::string(name(isa));
    if (!wanted || !*wanted) {
      if (can) return isa;
    } else if (std::string_view(wanted) == name(isa)) {
      if (can) return isa;
      for (Isa lower : all)
        if (lower < isa && supported(lower)) possible += (possible.empty() ? "" : ", ") + std::string(name(lower));
      fail<ValueError>("REWIND_ISA: this processor lacks the instruction set: it names {} (leave it empty, or give one of {})", wanted,
                       possible);
    }
  }
  fail<ValueError>("REWIND_ISA: no such instruction set: it names '{}' (give one of avx512, avx2, sse2)", wanted ? wanted : "");
}

Isa isa() {
  static const Isa chosen = choose_isa(std::getenv("REWIND_ISA"));
  return chosen;
}

}  // namespace rw
