// How a loop's work goes with the rows of the batch, by which threads divide it. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

struct Division {
  std::vector<Rows> rows;  ///< of each value of the body; none where the rows of the batch depend on each other
  Index batch = 1;
  Index together = 1;  ///< rows of the batch that stay in one group

  bool by_row(int v) const { return !rows.empty() && (rows[v] == Rows::row || rows[v] == Rows::group); }
  /// Rows of the batch for one along axis 0 of a value.
  Index rows_at_once(int v) const { return !rows.empty() && rows[v] == Rows::group ? together : 1; }
};

Division division_of(const Body& body);

/// The program of a body for so many rows of the batch: whole groups.
Program for_rows(const Program& program, const Division& division, Index count);

/// A guess of the work of one step.
struct Work {
  double flops = 0;
  Index weights = 0;    ///< bytes of right operands that all rows share
  bool splits = false;  ///< a product of all rows is large enough for the team
};
Work work_of(const Program& program, const Division& division);

}  // namespace rw::detail
