// Where the time of plans goes, by kind of step: what `--profile` of a program prints (train/profile_table.hpp).
//
//   profile::start();
//   train();
//   profile::stop();
//   for (const auto& row : profile::report().rows) ...
//
// A profile is of the whole process, whichever threads run plans. Times are self times: a loop's row has what its steps do not have, so
// nothing counts twice. Where a loop's rows of the batch are divided into parts for the team, each part is charged the time of its thread
// over the number of parts: rows add up to the time that passed, and a rate is that of the whole team. Nothing is measured unless a profile
// is taken (a branch a run), and what is computed has the same bits.
#pragma once

#include <cstdint>
#include <rewind/core/dtype.hpp>
#include <string>
#include <vector>

namespace rw {

/// All steps of one kind and shape.
struct ProfileRow {
  std::string kind;   ///< the operator's name; with " (copy)" what it copies; "pack": packing of right operands
  std::string shape;  ///< of products the operands, T: transposed; of loops the steps; else the result, of regions with their operations
  DType dtype = DType::f32;  ///< of the result
  std::uint64_t calls = 0;   ///< in a loop one a step and part
  double seconds = 0;        ///< self time
  double flops = 0;          ///< of products, a multiply-add counts two; 0 for others
  double bytes = 0;          ///< of operands and results, each once a call, wherever they lie; 0 for loops and packing
};

struct Profile {
  std::vector<ProfileRow> rows;  ///< those that were called, longest first
  double plans = 0;              ///< seconds in which plans ran, at least the sum of the rows
  double elapsed = 0;            ///< seconds from start to stop: the rest is recording, planning and the program's own
};

namespace profile {

/// Forgets what was counted, and counts from now on. To be called, as stop, while no plan runs.
void start();
void stop();
bool running();
/// What was counted since the last start.
Profile report();

}  // namespace profile

}  // namespace rw
