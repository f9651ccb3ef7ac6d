// Values side by side along one axis, for the pass that merges products. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

/// A whole number as structure: the start of a slice.
int append_number(Program& p, Index n);
int append_concatenation(Program& p, std::vector<int> parts, int axis);
/// The parts along `axis` of a value, as slices with these types.
std::vector<int> append_parts(Program& p, int whole, int axis, const std::vector<Type>& types);

/// Elements over columns; 0 of what has none.
inline Index rows_of(const Shape& s) { return s.rank() && s.back() ? s.size() / s.back() : 0; }

/// Appends a scan in which accumulators over the parts of one concatenation are one accumulator over the whole: A_k += a^T g_k and
/// b_k += sum of the rows of g_k, where [g_1 g_2 ..] is made in the body, with `enough` rows over all steps. Gives where each of the
/// scan's results stands; empty, and nothing is appended, if there are no such.
std::vector<int> append_with_wide_accumulators(Program& to, const Instruction& scan, Index enough);

}  // namespace rw::detail
