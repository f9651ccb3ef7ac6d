// The objects of the instruction sets, read by nm. A function that the compiler does not inline becomes a weak symbol; where two objects
// define the same one, the linker keeps either, and a processor without AVX-512 would run AVX-512 code. So none may be shared.
#include <doctest/doctest.h>
#include <stdio.h>

#include <map>
#include <set>
#include <sstream>

#include "source.hpp"

namespace {

/// Names of the weak functions that an object defines.
std::set<std::string> weak_functions(const std::string& object) {
  std::string output;
  auto command = "nm -C --defined-only '" + object + "'";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  while (auto size = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, size);
  REQUIRE_MESSAGE(pclose(pipe) == 0, command);
  std::set<std::string> found;
  std::istringstream lines(output);
  for (std::string address, kind, name; lines >> address >> kind && std::getline(lines >> std::ws, name);)
    if (kind == "W") found.insert(name);
  return found;
}

}  // namespace

TEST_CASE("house: kernels of different instruction sets share no code") {
  std::istringstream list(house::text_of(REWIND_OBJECT_LIST));
  std::map<std::string, std::set<std::string>> by_set;
  for (std::string object; std::getline(list, object);) {
    for (const std::string set : {"sse2", "avx2", "avx512", "base"}) {
      bool kernel = object.find("_" + set + ".cpp") != std::string::npos;
      bool any = object.find("/isa/") != std::string::npos;
      if (!(kernel || (set == "base" && !any))) continue;
      auto names = weak_functions(object);
      if (set == "avx2" || set == "avx512")
        for (const auto& name : names) {
          bool own = name.find(set == "avx512" ? "avx512" : "avx2") != std::string::npos;
          CHECK_MESSAGE(own, object << " defines " << name << ", which other objects may define too");
        }
      by_set[set].insert(names.begin(), names.end());
    }
  }
  for (const char* set : {"sse2", "avx2", "avx512", "base"}) CHECK_MESSAGE(by_set.contains(set), "no object of " << set);
  for (const auto& [set, names] : by_set)
    for (const auto& [other, theirs] : by_set)
      if (set < other && !(set == "base" && other == "sse2"))
        for (const auto& name : names) CHECK_MESSAGE(!theirs.contains(name), name << " is in objects of both " << set << " and " << other);
}
