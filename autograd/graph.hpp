// The recorded graph: values and the operations that make them. Internal to autograd.
//
// Value <- Node <- Values: a value holds its producer, a node holds its inputs. Nothing here recurses: a million steps are freed by a
// worklist. Values of the outermost trace live until nobody holds them; those of a scan's body until its trace ends.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <rewind/autograd/few.hpp>
#include <rewind/autograd/variable.hpp>
#include <rewind/core/random.hpp>
#include <rewind/core/recycle.hpp>
#include <span>
#include <vector>

namespace rw::detail {

class Operator;
struct Body;
struct CustomCall;
struct Node;
struct Place;
struct Tape;

/// Structural numbers of an operation: axes, extents, flags. Part of a plan's key. Each operator names its own.
using Attributes = std::array<std::int64_t, 6>;

/// What custom operations call: inputs of plans, found through the node when a plan runs.
using Closures = std::vector<std::shared_ptr<CustomCall>>;

struct Type {
  DType dtype = DType::f32;
  Shape shape;
  bool weak = false;  ///< a number: rank 0, kept in f64, takes the dtype of what it meets
  bool operator==(const Type&) const = default;
};

/// The tape of this thread; null before its first use.
inline constinit thread_local Tape* tape_here = nullptr;

struct Value : RecycledObject {
  Value() = default;
  explicit Value(const Type& t) : type(t) {}

  /// References in the lower half: handles, and nodes that read it. Handles (Variables) alone in the upper half. Those of results are
  /// written by their own thread alone, which takes no locked instruction; what other threads add stands in `elsewhere`, and what they drop
  /// they hand over.
  std::atomic<std::uint64_t> counts{one_reference}, elsewhere{0};
  static constexpr std::uint64_t one_reference = 1, one_handle = (std::uint64_t{1} << 32) + 1;
  Tape* tape = nullptr;
  Node* node = nullptr;     ///< counted; null for leaves and for what lost its history
  std::uint64_t mark = 0;   ///< scratch of walks: the serial of the walk
  int slot = -1;            ///< scratch of the walk that marked it
  int output = 0;           ///< which result of node
  bool released = false;    ///< its history was walked by backward and is gone
  bool recorded = false;    ///< a result of an operation; leaves are not
  bool trainable = false;   ///< depends on a parameter
  bool listed = false;      ///< stands in the tape's list of held pending values
  bool number_set = false;  ///< a leaf number: its value is `number`
  StorageRef storage;       ///< the value, if evaluated: dense at byte offset
  std::uint64_t trace = 0;  ///< serial of the trace that recorded it; 0 for leaves, which belong everywhere
  std::uint64_t id = 0;     ///< order of recording on the thread
  Value *previous = nullptr, *next = nullptr;
  Type type;
  Index offset = 0;
  double number = 0;
  Place* place = nullptr;         ///< the parameter whose leaf this is
  Value* origin = nullptr;        ///< counted: the other thread's leaf that this one stands for
  std::uint64_t captured_by = 0;  ///< trace that captured it last, and as what
  Value* captured = nullptr;

  static std::uint32_t references(std::uint64_t counts) { return static_cast<std::uint32_t>(counts); }
  static std::uint32_t handles(std::uint64_t counts) { return static_cast<std::uint32_t>(counts >> 32); }
  bool held() const { return handles(counts.load(std::memory_order_relaxed) + elsewhere.load(std::memory_order_relaxed)) > 0; }
  /// Adds one_reference or one_handle; gives the counts before.
  std::uint64_t count(std::uint64_t one) {
    if (!recorded) return counts.fetch_add(one, std::memory_order_relaxed);
    if (tape != tape_here) return elsewhere.fetch_add(one, std::memory_order_relaxed) + counts.load(std::memory_order_relaxed);
    const auto own = counts.load(std::memory_order_relaxed);
    counts.store(own + one, std::memory_order_relaxed);
    return own + elsewhere.load(std::memory_order_relaxed);
  }
  /// Takes one away; gives the counts before. Of a result: on its own thread.
  std::uint64_t discount(std::uint64_t one) {
    if (!recorded) return counts.fetch_sub(one, std::memory_order_acq_rel);
    const auto own = counts.load(std::memory_order_relaxed);
    counts.store(own - one, std::memory_order_relaxed);
    return own + elsewhere.load(std::memory_order_acquire);
  }
  bool evaluated() const { return static_cast<bool>(storage) || number_set; }
  bool leaf() const { return node == nullptr && trace == 0; }
  Tensor tensor() const;  ///< of an evaluated value
};

struct Node : RecycledObject {
  int references = 0;     ///< living outputs; the owning thread alone takes its graph apart
  bool history = true;    ///< false if recorded under NoGrad: gradients stop here
  bool released = false;  ///< backward walked it, and will let its history go
  bool reached = false;   ///< scratch of evaluation: a later gradient may read what it took or made
  const Operator* op = nullptr;
  std::uint64_t id = 0, mark = 0;
  std::uint64_t trace = 0;
  Few<Value*, 3> inputs;   ///< counted
  Few<Value*, 1> outputs;  ///< not counted; null if nobody holds it
  std::shared_ptr<const Body> body;
  struct More : RecycledObject {
    Closures closures;                      ///< of a custom operation, or of those in the body
    List<std::pair<int, StorageRef>> kept;  ///< results that were computed for a gradient before anybody holds them
    List<Type> types;
  };
  std::unique_ptr<More> more;   ///< what most do not have
  std::span<const Type> types;  ///< of the outputs: that of the only one, which lives as long as its node, or those in `more`
  Attributes attributes{};

  More& rest() {
    if (!more) more.reset(new More);
    return *more;
  }
  void add_output(const Type& type);  ///< that nobody holds yet
  const Closures& closures() const;
};

/// Puts nodes into the order in which they were recorded.
void sort_by_recording(List<Node*>& nodes);

/// A counted reference to a Value that is not a user's handle.
class ValueRef {
 public:
  ValueRef() = default;
  explicit ValueRef(Value* value) : value_(value) {
    if (value_) value_->count(Value::one_reference);
  }
  ValueRef(const ValueRef& other) : ValueRef(other.value_) {}
  ValueRef(ValueRef&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  ValueRef& operator=(ValueRef other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~ValueRef();
  Value* get() const { return value_; }
  Value* operator->() const { return value_; }
  explicit operator bool() const { return value_ != nullptr; }

 private:
  Value* value_ = nullptr;
};

/// Drops one reference; frees what nobody needs any more, without recursion.
void release(Value* value) noexcept;

/// A new handle to a value.
Variable handle(Value* value);

/// The value behind a handle, as the current trace sees it: a value from outside a scan becomes a capture of its body; another thread's
/// evaluated one a leaf of this thread's, without its history. Throws TapeError, naming `op`, for an empty Variable, one that escaped the
/// body of a scan, or another thread's pending one.
Value* local(const char* op, const Variable& variable);

/// Result i of a node, made again if nobody held it. The caller gets a counted reference.
ValueRef result(Node* node, int i);

/// Appends an operation to the current trace. Inputs must be local. One handle a result.
List<Variable> record(const Operator& op, const Attributes& attributes, List<Value*> inputs, List<Type> types,
                      std::shared_ptr<const Body> body = {}, Closures closures = {});
/// The same of one result.
Variable record_one(const Operator& op, const Attributes& attributes, std::span<Value* const> inputs, const Type& type);
inline Variable record(const Operator& op, const Attributes& attributes, std::initializer_list<Value*> inputs, const Type& type) {
  return record_one(op, attributes, std::span(inputs.begin(), inputs.size()), type);
}

/// A number as gradient rules and passes write it: structure, part of the plan's key, may be folded.
Variable constant(double number);

/// While one lives, numbers that meet Variables on this thread are constants: rules of gradients run under it. With `rules` false they are
/// inputs: a user's rules run under that.
class RuleScope {
 public:
  explicit RuleScope(bool rules = true);
  RuleScope(const RuleScope&) = delete;
  ~RuleScope();

 private:
  bool before_;
};

}  // namespace rw::detail
