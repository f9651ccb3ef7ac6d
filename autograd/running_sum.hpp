// Sums over time that go on from one loop to the next, as one chain: what a gradient that is cut into chunks needs, to have the bits of the
// gradient of the whole loop. Internal to autograd.
#pragma once

#include <rewind/autograd/program.hpp>

namespace rw::detail {

/// Makes accumulator + `sum` one chain, where `sum` is a loop's sum from zero, and nobody has read it yet: the loop starts from the
/// accumulator. With `of_two`, so does the first of two loops whose sums are added up, and the second starts where that ends. Gives the
/// value that is the total, or -1, and nothing is done, if `sum` is no such sum.
int continued_sum(Program& program, int accumulator, int sum, bool of_two);

/// Removes the additions that `continued_sum` left without a reader.
void remove_unread_additions(Program& program);

}  // namespace rw::detail
