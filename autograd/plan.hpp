// Plan: a program made ready to run: steps over buffers whose places are fixed. Internal to autograd.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <rewind/autograd/operator.hpp>
#include <rewind/core/matmul.hpp>
#include <span>
#include <vector>

namespace rw::detail {

/// What a plan's input is bound to.
struct Binding {
  std::byte* data = nullptr;
  Storage* storage = nullptr;  ///< where data lies, if it is counted storage
};

/// What a running plan knows: where its buffers are, and where it stands in enclosing loops.
struct Frame {
  std::byte* const* base = nullptr;            ///< address of each buffer
  std::uint64_t step = 0;                      ///< steps of enclosing scans, linear: numbers random elements
  Index row = 0;                               ///< first row of the batch, where a scan's batch is divided
  bool split = true;                           ///< steps may use the team
  const Binding* inputs = nullptr;             ///< of the plan
  CustomCall* const* customs = nullptr;        ///< closures of custom operations
  const PackedMatrix* const* packs = nullptr;  ///< right operands packed for the whole run, by pack request
  const Index* advance = nullptr;              ///< bytes by which each buffer moves to the next step of the loop; null if there is none
  std::span<const Ahead> ahead;                ///< what a product is to fetch
  int parts = 1;                               ///< of divided loops around it, one beside the other
  std::atomic<double>* inside = nullptr;       ///< where a profile adds up what runs inside the step that this one is of
};

/// An offset that is read when the plan runs: the start of a slice.
struct DynamicOffset {
  int buffer;    ///< holds the start
  Index offset;  ///< in bytes
  bool number;   ///< f64, else i64
  Index stride;  ///< elements a unit of start
};

/// Where a value lies.
struct Slot {
  int buffer = -1;
  Index offset = 0;  ///< in elements, from the buffer's base
  Type type;
  Strides strides;
  std::vector<DynamicOffset> dynamic;

  bool dense() const { return is_contiguous(type.shape, strides); }
  std::byte* address(const Frame& frame) const {
    return dynamic.empty() ? frame.base[buffer] + offset * size_of(type.dtype) : dynamic_address(frame);
  }
  View view(const Frame& frame) const { return {address(frame), type.dtype, type.shape, strides}; }
  const Shape& shape() const { return type.shape; }

 private:
  std::byte* dynamic_address(const Frame& frame) const;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(const Frame& frame) const = 0;
};

/// A right operand of products that lies in an input: packed once while the input is unchanged, if that is less work.
struct PackRequest {
  int input;
  Index offset;  ///< bytes from the input's first element
  DType dtype;
  Index k, n, row, column;
  Index rows;  ///< of the left operand; the most of several products
};

extern std::atomic<bool> profiling;  ///< a profile is taken (profile.hpp)

/// What a profile wants to know of a step.
struct StepNote {
  const Instruction* instruction;  ///< that it is of; null for copies of outputs
  bool copy;                       ///< it moves values only
  double bytes;                    ///< that it touches
};
StepNote note_of(const Instruction* instruction, bool copy, std::span<const Slot> slots);

/// Charges the time of a block to packing, if a profile is taken.
class PackCharge {
 public:
  explicit PackCharge(const Frame& frame) : frame_(frame), on_(profiling.load(std::memory_order_relaxed)) {
    if (on_) begin_ = std::chrono::steady_clock::now();
  }
  PackCharge(const PackCharge&) = delete;
  ~PackCharge() {
    if (on_) end();
  }

 private:
  void end() const;
  const Frame& frame_;
  bool on_;
  std::chrono::steady_clock::time_point begin_;
};

struct Buffer {
  enum class Kind : std::uint8_t { input, output, arena, constant } kind = Kind::arena;
  int index = 0;  ///< of the input or output; of the constant
  Index bytes = 0;
  int first = -1, last = -1;  ///< steps that use it
  Index offset = 0;           ///< in the arena
  int over = -1;              ///< a buffer whose place it may take: of the arena; of an output, an input that is given up
};

/// A buffer that a later step of a loop's plan touches.
struct Touched {
  int buffer;
  bool next;  ///< at the next step of the loop
};

struct Plan {
  std::vector<Buffer> buffers;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<StepNote> notes;    ///< of each step
  std::vector<Slot> outputs;      ///< where each output of the program lies, dense
  std::vector<double> constants;  ///< bits of any dtype
  Index arena_bytes = 0;
  std::vector<std::vector<Touched>> ahead;  ///< of each step: what a product is to fetch; empty if there is nothing for any
  std::shared_ptr<const Program> program;   ///< after all passes
  std::vector<PackRequest> packs;
  bool splits = false;         ///< a step is large enough for the team
  std::vector<char> in_place;  ///< of each input: its output (PlanOptions::over) must be bound to the same memory

  /// Addresses of all buffers, given those of inputs, outputs and arena; base has buffers.size() entries.
  void bind(std::span<const Binding> inputs, std::span<std::byte* const> outputs, std::byte* arena, std::byte** base) const;
  void run(const Frame& frame) const {
    if (profiling.load(std::memory_order_relaxed)) return run_profiled(frame);
    if (!ahead.empty()) return run_fetching(frame);
    for (const auto& step : steps) step->run(frame);
  }
  /// The packed right operands for so many runs in this frame or inside of it; null where packing is not worth it. `own` keeps those
  /// that lie in no storage.
  void pack(std::span<const Binding> inputs, const PackedMatrix** packs, std::vector<std::unique_ptr<PackedMatrix>>& own, Index runs,
            const Frame& frame) const;

 private:
  struct Charge {
    int row;
    double flops, bytes;
  };
  void run_profiled(const Frame& frame) const;
  void run_fetching(const Frame& frame) const;
  /// What step `s` is to fetch; it lasts until the thread asks again.
  std::span<const Ahead> ahead_of(std::size_t s, const Frame& frame) const;
  mutable std::once_flag charged_once_;
  mutable std::vector<Charge> charges_;  ///< of each step, made at the first profiled run
};

struct PlanOptions {
  bool own_outputs = false;  ///< every output in a buffer of its own, as the loop of a scan needs; otherwise it may be a view of an input
  int constants_from = 0;    ///< inputs from this one on do not change while the plan is run again and again: their packs may be kept
  std::vector<int> over{};   ///< of each input: the output that may be written over it, -1 for none; empty: there are none
  std::vector<int> given_up{};  ///< the same of inputs that a run may give up, or may not: Buffer::over of the output says which can be
};

/// Makes a plan of a program: passes, lowering, layout of the arena.
std::shared_ptr<Plan> make_plan(Program program, const PlanOptions& options = {});

/// The state of lowering one program.
class Lowering {
 public:
  Lowering(const Program& program, Plan& plan, const PlanOptions& options);
  void run();

  const Program& program;

  const Type& type(int value) const { return program.types[value]; }
  /// Where a value lies; any strides.
  const Slot& slot(int value) const { return slots_[value]; }
  /// The same, dense: copied first if need be.
  Slot dense(int value);
  /// Where a result shall be written: in the place its consumer chose for it, or in a new dense buffer.
  Slot result(int value);
  /// The same, dense even if a place was chosen; `finish` copies it there.
  Slot dense_result(int value);
  void finish(int value, const Slot& written);
  /// The same for a dense result that continues from an operand, whose value it has when the next step runs: in the operand's own place, if
  /// the options let the two share one and nobody else reads the operand; otherwise it is copied.
  Slot continued(int value, int operand);
  /// A dense copy of a slot; a copy in another dtype; the step that copies.
  Slot dense_copy(const Slot& slot);
  Slot converted(int value, DType dtype);
  void emit_copy(const Slot& from, const Slot& to);
  /// The number of a request to keep a right operand packed, -1 if it does not lie in an input.
  int pack_request(const Slot& b, DType dtype, Index k, Index n, Index row, Index column, Index rows);
  /// A result that is a view of something that lies there already.
  void alias(int value, Slot slot);
  /// Memory for the time of the next step.
  Slot scratch(const Type& type);
  /// A number of the plan, of a rank-0 type.
  Slot constant(double number, const Type& type);
  /// The number behind a value, if it is a constant of the structure.
  bool constant_of(int value, double& number) const;
  /// Adds an offset of `stride` elements a unit of `start` to a slot.
  void offset_by(Slot& slot, int start, Index stride);

  /// Appends a step that reads and writes these slots.
  void emit(std::unique_ptr<Step> step, std::span<const Slot> slots);
  /// The step that follows is large enough for the team, if `worth`.
  void splits(bool worth) { plan_.splits = plan_.splits || worth; }
  template <class F>
  void emit(std::initializer_list<Slot> slots, F run) {
    struct Call final : Step {
      explicit Call(F f) : call(std::move(f)) {}
      void run(const Frame& frame) const override { call(frame); }
      F call;
    };
    emit(std::make_unique<Call>(std::move(run)), std::span(slots.begin(), slots.size()));
  }
  const Buffer& buffer(const Slot& slot) const { return plan_.buffers[slot.buffer]; }
  /// Lets the step that first writes `to` write it over `from`, if nobody reads `from` later, and both are as long and lie in the arena, or
  /// are an output and the input that is given up for it. False if they are neither.
  bool may_overwrite(const Slot& to, const Slot& from);
  /// Chooses the place of a value that has none yet and whose producer can write anywhere; false otherwise.
  bool place(int value, Slot slot);

 private:
  bool written_over(const Slot& to, int operand);
  void place_outputs();
  void place_concatenations();
  void place_carries();
  void copy_outputs();
  void look_ahead();
  void layout();
  void keep_inputs();
  int new_buffer(Buffer::Kind kind, int index, Index bytes);
  Slot dense_slot(int buffer, const Type& type) const;

  Plan& plan_;
  PlanOptions options_;
  std::vector<Slot> slots_;
  std::vector<char> placed_;  ///< slot chosen before the value is made
  std::vector<int> producers_, uses_;
  std::vector<std::vector<int>> touched_;  ///< of each step of a loop: its buffers
  const Instruction* current_ = nullptr;   ///< that is being lowered
  bool copying_ = false;
};

}  // namespace rw::detail
