// A thread's tape: its traces, what is held and pending, its bodies and plans. Internal to autograd.
#pragma once

#include <list>
#include <mutex>
#include <rewind/autograd/program.hpp>
#include <rewind/autograd/tape.hpp>
#include <string>
#include <unordered_map>
#include <vector>

namespace rw::detail {

struct Plan;

/// What one body of a scan records while it is traced.
struct Trace {
  struct Rows {
    Value *rows, *table, *index;
    bool passes, in_chunks;
  };
  std::uint64_t serial = 0;
  List<ValueRef> parameters;    ///< carries, then xs
  List<ValueRef> captures;      ///< as seen inside
  List<ValueRef> captured;      ///< the same, as seen one trace further out
  List<Rows> gathered;          ///< parameters that are rows of tables (gathered.hpp), if the body is differentiated
  std::uint64_t constants = 0;  ///< ids of parameters that do not change from step to step begin here
};

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t lanes[4] = {1, 2, 3, 4};  // side by side: a multiplication waits for the one before
    auto mix = [](std::uint64_t& h, std::uint64_t w) {
      h = (h ^ w) * 0xD6E8FEB86659FD93ull;
      h ^= h >> 32;
    };
    std::size_t i = 0;
    for (; i + 4 <= key.size(); i += 4)
      for (std::size_t k = 0; k < 4; ++k) mix(lanes[k], key[i + k]);
    for (; i < key.size(); ++i) mix(lanes[0], key[i]);
    for (std::size_t k = 1; k < 4; ++k) mix(lanes[0], lanes[k]);
    return lanes[0];
  }
};

struct Tape {
  std::vector<Trace*> traces;                ///< innermost last; empty outside of scans
  Value* held = nullptr;                     ///< list of pending values with handles
  std::uint64_t next_id = 1, next_mark = 1;  ///< of recordings; of walks and traces
  bool no_grad = false, evaluating_model = false, in_rule = false, running = false;

  std::mutex orphans_guard;
  std::vector<Value*> orphans;  ///< handles that other threads dropped: only this thread takes its graph apart
  std::atomic<bool> any_orphans{false};

  struct RuleConstant {
    double number;
    std::uint64_t trace;
    ValueRef value;
  };
  List<RuleConstant> rule_constants;  ///< of the gradient rules at work, each recorded once

  struct StandIn {
    const Tape* of = nullptr;
    std::uint64_t id = 0;
    ValueRef leaf;
  };
  std::unordered_map<const Value*, StandIn> stand_ins;  ///< for other threads' values, as long as something here reads them

  struct CachedPlan {
    std::shared_ptr<Plan> plan;
    std::list<const Key*>::iterator use;
  };
  std::unordered_map<Key, CachedPlan, KeyHash> plans;
  std::list<const Key*> plan_use;  ///< most recent first
  std::size_t plan_limit = 256;
  std::unordered_map<Key, std::shared_ptr<const Body>, KeyHash> bodies;  ///< of scans, by structure
  std::uint64_t bodies_swept = 0;                                        ///< next_mark when the unused ones were last looked for
  TapeStatistics statistics;
  Key key, body_key;  ///< reused between evaluations, and between loops

  std::uint64_t serial() const { return traces.empty() ? 0 : traces.back()->serial; }
  void list(Value* value);
  void unlist(Value* value);
  void free_orphans();
  void forget_stand_ins();
  Value* rule_constant(double number);   ///< with a handle to it
  void drop_plans(std::size_t most);     ///< until there are no more than so many
  void drop_bodies(std::uint64_t mark);  ///< those not asked for since, but for what is held elsewhere
};

/// This thread's tape, made at its first use.
Tape& open_tape();
inline Tape& tape_of_thread() { return tape_here ? *tape_here : open_tape(); }

}  // namespace rw::detail
