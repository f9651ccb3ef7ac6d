// The table of operations. op_cases_test.cpp runs every case in every mode.
#pragma once

#include "op_cases_elementwise.hpp"
#include "op_cases_structure.hpp"

namespace rw::test {

inline const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> list;
    cases::elementwise(list);
    cases::truths(list);
    cases::reductions(list);
    cases::products(list);
    cases::parts(list);
    return list;
  }();
  return all;
}

}  // namespace rw::test
