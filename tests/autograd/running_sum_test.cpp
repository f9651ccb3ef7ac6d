// Sums that go on from loop to loop: on programs written by hand.
#include <rewind/autograd/running_sum.hpp>

#include <rewind/autograd/operator.hpp>

#include "compare.hpp"

#include <doctest/doctest.h>

using namespace rw;
using namespace rw::detail;

namespace {

const Type row{DType::f64, {2}}, rows{DType::f64, {3, 2}}, number{DType::f64, {}};

/// A loop of three steps that adds its x to its carry; with `reads` it emits the carry too.
int append_sum(Program& to, int first, int x, bool reads = false) {
  Program step;
  const int carry = step.add_input(row), each = step.add_input(row);
  const int next = step.append(elementwise_operator(op::code<op::Add>), {}, {carry, each}, row);
  step.outputs = {next};
  if (reads) step.outputs.push_back(carry);
  const auto types = reads ? std::vector<Type>{row, rows} : std::vector<Type>{row};
  return to.append(scan_operator, {0, 3}, {first, x}, types, make_body(std::move(step), 1, 1));
}

struct Sums {
  Program program;
  int accumulator = program.add_input(row), a = program.add_input(rows), b = program.add_input(rows);
  int zero() {
    const int constant = program.append(constant_operator, {0}, {}, number);
    return program.append(broadcast_operator, {}, {constant}, row);
  }
  int add(int x, int y) { return program.append(elementwise_operator(op::code<op::Add>), {}, {x, y}, row); }
  /// The total for numbers whose sum depends on the order; 0 if there is none.
  double result(int total) {
    if (total < 0) return 0;
    program.outputs = {total};
    CHECK(test::malformed(program) == "");
    const Array first{{2}, {1e17, 0}}, x{{3, 2}, {5, 0, -1e17, 0, 1, 0}}, y{{3, 2}, {2, 0, 3, 0, 1e17, 0}};
    return interpret(program, {first, x, y}, {})[0].data[0];
  }
};

double chain(std::initializer_list<double> terms) {
  double sum = 1e17;
  for (double t : terms) sum += t;
  return sum;
}

}  // namespace

TEST_CASE("running sum: a loop's sum from zero starts from the accumulator") {
  Sums s;
  const int sum = append_sum(s.program, s.zero(), s.a);
  CHECK(s.result(continued_sum(s.program, s.accumulator, sum, false)) == chain({5, -1e17, 1}));
}

TEST_CASE("running sum: the second of two loops starts where the first ends") {
  Sums s;
  const int a = append_sum(s.program, s.zero(), s.a), b = append_sum(s.program, s.zero(), s.b), sum = s.add(a, b);
  const int total = continued_sum(s.program, s.accumulator, sum, true);
  const auto size = s.program.code.size();
  CHECK(s.result(total) == chain({5, -1e17, 1, 2, 3, 1e17}));
  remove_unread_additions(s.program);
  CHECK(s.program.code.size() == size - 1);
  CHECK(s.result(s.program.outputs[0]) == chain({5, -1e17, 1, 2, 3, 1e17}));
}

TEST_CASE("running sum: a second loop that is no such sum is added to the first's") {
  Sums s;
  const int a = append_sum(s.program, s.zero(), s.a), b = append_sum(s.program, s.accumulator, s.b), sum = s.add(a, b);
  CHECK(s.result(continued_sum(s.program, s.accumulator, sum, true)) == chain({5, -1e17, 1}) + chain({2, 3, 1e17}));
}

TEST_CASE("running sum: not of a loop that starts elsewhere, that others read, or of anything else") {
  Sums s;
  auto as_it_was = [&](int sum, bool of_two = false) {
    const auto before = to_string(s.program);
    return continued_sum(s.program, s.accumulator, sum, of_two) == -1 && to_string(s.program) == before;
  };
  CHECK(as_it_was(append_sum(s.program, s.accumulator, s.a)));
  CHECK(as_it_was(append_sum(s.program, s.zero(), s.a, true)));
  CHECK(as_it_was(s.accumulator));
  CHECK(as_it_was(s.zero()));
  const int read = append_sum(s.program, s.zero(), s.a);
  const int twice = s.add(read, read);
  CHECK(as_it_was(read));
  CHECK(as_it_was(twice, true));
  const int a = append_sum(s.program, s.zero(), s.a), b = append_sum(s.program, s.zero(), s.b);
  CHECK(as_it_was(s.add(a, b)));  // two loops, where one is asked for
  const int sooner = append_sum(s.program, s.zero(), s.a), later = append_sum(s.program, s.zero(), s.b);
  CHECK(as_it_was(s.add(later, sooner), true));
  const int one = s.program.append(constant_operator, {std::bit_cast<std::int64_t>(1.0)}, {}, number);
  CHECK(as_it_was(append_sum(s.program, s.program.append(broadcast_operator, {}, {one}, row), s.a)));
}
