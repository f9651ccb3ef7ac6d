#include <rewind/tests/support.hpp>

#include <sys/stat.h>
#include <limits>

using namespace rw;
using namespace rw::test;

namespace {
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();
}  // namespace

TEST_CASE("comparators: a NaN fails, on either side and both") {
  CHECK_FALSE(close(not_a_number, 1, 1e9));
  CHECK_FALSE(close(1, not_a_number, 1e9));
  CHECK_FALSE(close(not_a_number, not_a_number, infinite));
  CHECK_FALSE(close(1, 1.5, not_a_number));
  CHECK_FALSE(close(std::vector<double>{1, not_a_number}, std::vector<double>{1, 2}, 1));
  CHECK_FALSE(close(Tensor::of({2}, {1.0, not_a_number}), Tensor::of({2}, {1.0, not_a_number}), 1));
  CHECK(std::isnan(max_relative_error(std::vector<double>{1, not_a_number, 2}, std::vector<double>{1, 2, 2})));
  CHECK(std::isnan(max_relative_error(std::vector<double>{1, 2}, std::vector<double>{not_a_number, 2})));
  CHECK(std::isnan(max_relative_error(Tensor::of({2}, {not_a_number, 0.0}), Tensor::of({2}, {0.0, 0.0}))));
  CHECK_FALSE(max_relative_error(std::vector<double>{not_a_number}, std::vector<double>{1}) <= 1e9);
}

TEST_CASE("comparators: tolerance is absolute below 1 and relative above") {
  CHECK(close(0.001, 0.002, 0.0011));
  CHECK_FALSE(close(0.001, 0.0022, 0.0011));
  CHECK(close(1000, 1001, 0.001));
  CHECK_FALSE(close(1000, 1002, 0.001));
  CHECK(close(infinite, infinite, 0));
  CHECK_FALSE(close(infinite, -infinite, 1));
  CHECK_FALSE(close(infinite, 1, 1));
}

TEST_CASE("comparators: words say what differed") {
  CHECK(close(1, 2, 0.25).words == "element 0 of 1: 1 against 2, tolerance 0.25");
  CHECK(close(std::vector<float>{1, 2}, std::vector<double>{1}, 0).words == "2 elements against 1");
  CHECK(close(Tensor::zeros({2, 3}), Tensor::zeros({3, 2}), 0).words == "shape [2, 3] against [3, 2]");
}

TEST_CASE("comparators: the largest relative error is measured by the largest reference") {
  CHECK(max_relative_error(std::vector<double>{1, 10}, std::vector<double>{1.5, 10}) == doctest::Approx(0.05));
  CHECK(max_relative_error(std::vector<double>{0.5}, std::vector<double>{0}) == 0.5);
  CHECK(max_relative_error(std::vector<double>{}, std::vector<double>{}) == 0);
  CHECK(max_relative_error(std::vector<double>{1}, std::vector<double>{}) == HUGE_VAL);
  CHECK(max_relative_error(Tensor::zeros({2}), Tensor::zeros({1, 2})) == HUGE_VAL);
}

TEST_CASE("error_text: the message of exactly the expected type, else what happened instead") {
  CHECK(error_text<ShapeError>([] { throw ShapeError("a"); }) == "a");
  CHECK(error_text<ShapeError>([] { throw ValueError("a"); }) == "(another type: a)");
  CHECK(error_text<Error>([] { throw ValueError("a"); }) == "(a type derived from the expected one: a)");
  CHECK(error_text<Error>([] { return 1; }) == "(nothing was thrown)");
}

TEST_CASE("Scratch: a folder that goes away with all that is in it") {
  std::string folder;
  {
    Scratch scratch;
    folder = scratch.folder();
    REQUIRE(::mkdir(scratch.file("inner").c_str(), 0777) == 0);
    std::FILE* file = std::fopen(scratch.file("inner/x").c_str(), "w");
    REQUIRE(file != nullptr);
    std::fclose(file);
  }
  struct stat status {};
  CHECK(::stat(folder.c_str(), &status) != 0);
}
