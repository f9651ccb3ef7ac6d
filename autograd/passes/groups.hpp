// Groups of rows that a loop sums apart. A team that divides the rows of the batch divides them between groups, so a sum does not depend on
// the number of threads.
#pragma once

#include <algorithm>
#include <rewind/core/shape.hpp>

namespace rw::detail {

/// Rows of a group of so many rows: from 4, since the sum of few rows is no less work to go on with than these are to stack, to 15; of
/// these a number that gives groups in a multiple of as large a power of 2 as there is, of 2 at least. 0 if none does.
inline Index rows_of_group(Index rows) {
  auto power = [](Index n) { return n & -n; };
  Index best = 0;
  for (Index k = 4; k < 16 && k < rows; ++k)
    if (rows % (2 * k) == 0 && (best == 0 || power(rows / k) > power(rows / best))) best = k;
  return best;
}

/// Whether a team can divide groups nearly as evenly as rows, or has so few of these for each thread that it would not divide them.
inline bool divides_evenly(Index rows, Index group, int team) {
  const Index parts = std::min<Index>(team, rows), most = (rows + parts - 1) / parts, most_groups = (rows / group + parts - 1) / parts;
  return most < 4 || most_groups * group <= most + most / 7;
}

}  // namespace rw::detail
