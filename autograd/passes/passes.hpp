// Passes: program in, program out, a file each. Internal to autograd.
#pragma once

#include <rewind/autograd/program.hpp>

namespace rw::detail {

/// All passes in order: what make_plan does before lowering. Bodies of scans get theirs when their own plan is made.
void run_passes(Program& program);

/// Removes what no output needs; scans lose ys and captures that nobody reads.
void remove_dead_code(Program& program);
/// Instructions with equal operation, attributes and operands become one.
void merge_common(Program& program);
/// Slices of elementwise results become elementwise results of slices, so that gates split from one product fuse with what follows;
/// transposes of product operands become flags.
void push_slices(Program& program);
/// Makes a scan of what repeats step after step: a loop written by hand, and its gradient.
void roll(Program& program);
/// Cuts time into chunks where what the next two move out of a loop would take more than 32 MiB, or than `bytes`.
void chunk(Program& program);
void chunk_within(Program& program, Index bytes);
/// Moves what depends only on x_t and constants out of loops: one product for all steps.
void hoist(Program& program);
/// Moves what is only accumulated or emitted out of loops, behind them.
void sink(Program& program);
/// Multiplies a table and gathers rows of the result, rather than multiply the rows gathered, where the table has fewer.
void gather_product(Program& program);
/// Groups elementwise work into regions for the tile machine.
void fuse(Program& program);

/// The body of a loop over chunks of time: the loop itself over one chunk. Step t of chunk n draws the random numbers of step n * extent +
/// t.
Program over_chunk(const std::shared_ptr<const Body>& body, bool reverse, Index extent);

/// Whether results of this operator can be written to any strided place (it computes, rather than views).
bool is_computed(const Operator& op);
/// A new program with the values renumbered in order of use; `keep` says which instructions stay.
void compact(Program& program, const std::vector<char>& keep);

}  // namespace rw::detail
