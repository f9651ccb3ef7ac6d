// Passes: program in, program out, a file each. Internal to autograd.
#pragma once

#include <cstdint>
#include <functional>
#include <rewind/autograd/program.hpp>
#include <span>

namespace rw::detail {

/// All passes in order: what make_plan does before lowering. Bodies of scans get theirs when their own plan is made.
void run_passes(Program& program);

struct Pass {
  const char* name;
  void (*run)(Program&);
};
/// Every pass of run_passes once, in the order in which they first run.
std::span<const Pass> all_passes();

/// Some of all_passes(): bit i stands for pass i.
using PassSet = std::uint32_t;

/// While it lives, run_passes leaves these out, in any thread, and plans made so are kept apart from others (the set is part of a plan's
/// key). Without `fuse` every elementwise instruction is a region of its own. What another pass calls inside is not left out. For tests,
/// one at a time, with no plan running:
///
///     for (std::size_t i = 0; i < all_passes().size(); ++i) {
///       WithoutPasses without(PassSet{1} << i);
///       CHECK(against_reference(outputs(), 1e-9) == "");  // recorded anew: what is evaluated already is not computed again
///     }
class WithoutPasses {
 public:
  explicit WithoutPasses(PassSet set);
  ~WithoutPasses();
  WithoutPasses(const WithoutPasses&) = delete;
};
/// Those that are left out now.
PassSet passes_left_out();

/// Removes what no output needs; scans lose ys and captures that nobody reads.
void remove_dead_code(Program& program);
/// Instructions with equal operation, attributes and operands become one.
void merge_common(Program& program);
/// Of concatenations that products read, those that another holds become slices of it, also behind a loop that stacks both.
void share_concatenations(Program& program);
/// Slices of elementwise results become elementwise results of slices, so that gates split from one product fuse with what follows;
/// transposes of product operands become flags.
void push_slices(Program& program);
/// Puts in what the first and the last step of such loops lack, as roll does before it.
void complete_loops(Program& program);
/// Makes a scan of what repeats step after step: a loop written by hand, and its gradient.
void roll(Program& program);
/// Makes one product of those in a loop that share an operand.
void merge_products(Program& program);
/// Adds up sums over rows by groups of rows, and the groups behind the loop.
void group_sums(Program& program);
/// Cuts time into chunks where what the next two move out of a loop would take more than 32 MiB, or than `bytes`; a chunk has `least`
/// steps or more, and the last may be shorter. A loop that was recorded in chunks becomes part of the program around it.
void chunk(Program& program);
void chunk_within(Program& program, Index bytes, Index least);
/// Moves what depends only on x_t and constants out of loops: one product for all steps.
void hoist(Program& program);
/// Moves what is only accumulated or emitted out of loops, behind them.
void sink(Program& program);
/// Multiplies a table and gathers rows of the result, rather than multiply the rows gathered, where the table has fewer.
void gather_product(Program& program);
/// Makes a sum of rows in the product over time that reads the rows too.
void take_row_sums(Program& program);
/// Does what can be done on constants of the structure, and drops what changes nothing.
void fold(Program& program);
/// Groups elementwise work into regions for the tile machine.
void fuse(Program& program);
/// A region for each elementwise instruction, for the tile machine runs nothing else.
void fuse_nothing(Program& program);

/// The body of a loop over chunks of time: the loop itself over one chunk, which draws the random numbers of the steps that it stands for.
Program over_chunk(const std::shared_ptr<const Body>& body, bool reverse, Index extent);

/// A stretch of a loop's time in equal chunks: `count` of `extent` steps, from step `begin` on.
struct Stretch {
  Index begin, count, extent;
  std::shared_ptr<const Body> over_chunk = nullptr;
};
/// All of a loop's time, in the order in which it runs: chunks of `extent` steps, and what is left in one that is shorter.
List<Stretch> stretches(bool reverse, Index steps, Index extent);
/// A loop of this body and these attributes as loops over chunks of time, one behind the other: inputs and outputs are those of the loop.
/// All call the same closures, from the first on.
Program in_chunks(const Body& body, const Attributes& scan, std::span<const Stretch> time);

/// Whether results of this operator can be written to any strided place (it computes, rather than views).
bool is_computed(const Operator& op);
/// Writes a program anew and gives each loop of at least one step to `rewrite`, as it was and as it is now, with its operands renumbered:
/// it may change the latter and return false, or append to the program what stands for the loop, number its results, and return true.
/// False, and nothing is done, if there is no such loop.
using LoopRewrite = std::function<bool(const Instruction& was, Instruction& now, Program& to, std::vector<int>& number)>;
bool rewrite_loops(Program& program, const LoopRewrite& rewrite);
/// A new program with the values renumbered in order of use; `keep` says which instructions stay.
void compact(Program& program, const std::vector<char>& keep);

}  // namespace rw::detail
