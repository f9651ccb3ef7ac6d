// Regions while the fusion pass makes them: which instructions run together, and on what. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

/// The iteration space an instruction asks for: leading axes, and columns (0: one element a row, any number of columns will do).
struct Space {
  Shape lead;
  Index columns = 0;
  int dtype = -1;  ///< what it computes in; -1: any (truth values)
  bool alone = false;
  int order = 0;          ///< with sums over steps and rows: 1 from the first step to the last, -1 from the last to the first
  bool unsorted = false;  ///< with what goes with no such sums: row reductions, so that columns can be divided, and random numbers
};

/// Whether what asks for these can run together.
inline bool fits(const Space& a, const Space& b) {
  return a.lead == b.lead && (a.columns == b.columns || !a.columns || !b.columns) && (a.dtype == b.dtype || a.dtype < 0 || b.dtype < 0) &&
         !a.alone && !b.alone && (a.order == b.order || !a.order || !b.order) && !(a.order && b.unsorted) && !(b.order && a.unsorted);
}

/// The space of both, where they fit.
inline void widen(Space& a, const Space& b) {
  if (!a.columns) a.columns = b.columns;
  if (a.dtype < 0) a.dtype = b.dtype;
  if (!a.order) a.order = b.order;
  a.unsorted |= b.unsorted;
}

/// One region, or what has become part of one.
struct Region {
  Space space;
  int level = 0, size = 0;
  int into = -1;  ///< joined with this one
};

inline int home_of(const std::vector<Region>& regions, int r) {
  while (regions[r].into >= 0) r = regions[r].into;
  return r;
}

/// A program with its regions: `member[n]` is the region of instruction n, -1 if it is in none.
struct Regions {
  const Program& program;
  const std::vector<int>& made;  ///< producers(program)
  std::vector<Region>& regions;
  std::vector<int>& member;
  int largest;  ///< instructions of a region
};

/// Whether a value is repeated along an axis where it meets others in such a space: a bias, a mean of each row, a number.
inline bool is_repeated(const Type& type, const Space& space) {
  return type.shape.rank() <= space.lead.rank() || type.shape.size() < space.lead.size() * std::max<Index>(space.columns, 1);
}

/// A region that one other alone reads joins it, if what it reads is no more than what it would write: it only had to wait.
void join_readers(const Regions& all);
/// Regions of one level that read the same value, and reduce no rows, become one.
void join_neighbours(const Regions& all);

/// Cheap values are made again where other regions read them: see remake.cpp. `groups` holds the instructions of each region and gets those
/// that it makes again; `written` says which values are read outside of their region, and so must be written.
void remake(const Regions& all, std::vector<std::vector<int>>& groups, std::vector<char>& written);

}  // namespace rw::detail
