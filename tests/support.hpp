// What all tests share: comparators that a NaN fails, the text of an expected error, a folder for files that goes away.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>
#include <rewind/core/error.hpp>
#include <rewind/core/tensor.hpp>

#include <cmath>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

namespace rw::test {

/// The outcome of a comparison: true or false, and in words what differed. CHECK prints the words.
struct Verdict {
  bool ok = true;
  std::string words = "equal within tolerance";
  operator bool() const { return ok; }
};
inline doctest::String toString(const Verdict& verdict) { return verdict.words.c_str(); }

/// All elements as doubles, row-major.
inline std::vector<double> doubles(const Tensor& t) {
  Tensor dense = t.cast(DType::f64).contiguous();
  const double* p = dense.data<double>();
  return {p, p + dense.size()};
}

/// |value - reference| in units of max(1, |reference|): 0 for equal infinities, NaN if either is NaN.
inline double mixed_error(double value, double reference) {
  if (value == reference) return 0;
  return std::abs(value - reference) / std::fmax(1, std::abs(reference));
}

/// Every element within `tolerance`, absolute below 1 and relative above: |value - reference| <= tolerance * max(1, |reference|). False for
/// NaN, for different sizes and, of tensors, different shapes.
template <class A, class B>
Verdict close(std::span<const A> value, std::span<const B> reference, double tolerance) {
  char words[160];
  if (value.size() != reference.size()) {
    std::snprintf(words, sizeof words, "%zu elements against %zu", value.size(), reference.size());
    return {false, words};
  }
  for (std::size_t i = 0; i < value.size(); ++i) {
    double v = static_cast<double>(value[i]), r = static_cast<double>(reference[i]);
    if (!(mixed_error(v, r) <= tolerance)) {
      std::snprintf(words, sizeof words, "element %zu of %zu: %.17g against %.17g, tolerance %g", i, value.size(), v, r, tolerance);
      return {false, words};
    }
  }
  return {};
}
inline Verdict close(double value, double reference, double tolerance) {
  return close<double, double>(std::span<const double>(&value, 1), std::span<const double>(&reference, 1), tolerance);
}
template <class A, class B>
Verdict close(const std::vector<A>& value, const std::vector<B>& reference, double tolerance) {
  return close(std::span<const A>(value), std::span<const B>(reference), tolerance);
}
inline Verdict close(const Tensor& value, const Tensor& reference, double tolerance) {
  if (value.shape() == reference.shape()) return close(doubles(value), doubles(reference), tolerance);
  return {false, "shape " + to_string(value.shape()) + " against " + to_string(reference.shape())};
}

/// The largest |value - reference| over the largest |reference| (over 1 if that is 0); NaN if a NaN is anywhere, infinity for different
/// sizes.
template <class A, class B>
double max_relative_error(std::span<const A> value, std::span<const B> reference) {
  if (value.size() != reference.size()) return HUGE_VAL;
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    double v = static_cast<double>(value[i]), r = static_cast<double>(reference[i]);
    double e = v == r ? 0 : std::abs(v - r);
    if (std::isnan(e)) return e;
    largest = std::fmax(largest, std::abs(r));
    error = std::fmax(error, e);
  }
  return error == 0 ? 0 : error / (largest > 0 ? largest : 1);
}
template <class A, class B>
double max_relative_error(const std::vector<A>& value, const std::vector<B>& reference) {
  return max_relative_error(std::span<const A>(value), std::span<const B>(reference));
}
inline double max_relative_error(const Tensor& value, const Tensor& reference) {
  return value.shape() == reference.shape() ? max_relative_error(doubles(value), doubles(reference)) : HUGE_VAL;
}

/// The message of the E (exactly that type) that f() throws; else a sentence in parentheses saying what happened instead.
template <class E, class F>
std::string error_text(F&& f) {
  try {
    static_cast<void>(f());
  } catch (const E& e) {
    return typeid(e) == typeid(E) ? e.what() : std::string("(a type derived from the expected one: ") + e.what() + ")";
  } catch (const std::exception& e) {
    return std::string("(another type: ") + e.what() + ")";
  }
  return "(nothing was thrown)";
}

/// A new empty folder, removed with all that is in it at the end of the block.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/rewind-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    folder_ = name;
  }
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    ::nftw(
        folder_.c_str(), [](const char* path, const struct stat*, int, struct FTW*) { return std::remove(path); }, 8, FTW_DEPTH | FTW_PHYS);
  }
  const std::string& folder() const { return folder_; }
  std::string file(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_;
};

/// While it lives, files without a path are those of a folder that goes away.
class InScratch {
 public:
  InScratch() : before_(::open(".", O_RDONLY | O_DIRECTORY)) {
    REQUIRE(before_ >= 0);
    REQUIRE(::chdir(scratch_.folder().c_str()) == 0);
  }
  InScratch(const InScratch&) = delete;
  ~InScratch() {
    CHECK(::fchdir(before_) == 0);
    ::close(before_);
  }

 private:
  Scratch scratch_;
  int before_;
};

}  // namespace rw::test
