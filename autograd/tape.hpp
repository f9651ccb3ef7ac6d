// What a user sees of the tape: statistics, its text, and evaluation on demand.
#pragma once

#include <cstdint>
#include <rewind/autograd/variable.hpp>
#include <span>
#include <string>

namespace rw {

/// Counters of this thread's tape.
struct TapeStatistics {
  std::uint64_t records = 0;  ///< operations recorded
  std::uint64_t runs = 0;     ///< programs run
  std::uint64_t plans = 0;    ///< plans made
  std::uint64_t hits = 0;     ///< runs whose plan was there already
  std::uint64_t cached = 0;   ///< plans kept now
  Index arena_bytes = 0;      ///< of the largest plan kept
};

namespace tape {
TapeStatistics statistics();
/// Drops all plans of this thread.
void clear_plans();
/// The most plans that are kept; the least recently used goes. Default 256.
void set_plan_limit(int plans);
}  // namespace tape

/// Evaluates what is pending, and all else that is held.
void evaluate(std::span<const Variable> variables);

/// The program that computes these variables as recorded, a line an operation, bodies of scans indented.
std::string dump(std::span<const Variable> variables);
inline std::string dump(const Variable& variable) { return dump(std::span(&variable, 1)); }

}  // namespace rw
