// What goes wrong, says so: the examples of the documentation, word for word.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>

#include "support.hpp"
using namespace rw;

TEST_CASE("api: errors come at the call and name what was got") {
  CHECK(test::error_text<ShapeError>([] {
          matmul(zeros({32, 64}), zeros({65, 128}));
        }) == "matmul: inner dimensions differ: a is [32, 64], b is [65, 128] (a's last axis must equal b's first)");
  nn::LstmCell cell(64, 8);
  CHECK(test::error_text<ShapeError>([&] {
          cell(zeros({32, 100}), cell.initial(32));
        }) == "LstmCell: x is [32, 100], but this cell takes inputs of 64 (x's last axis must be 64)");
}
