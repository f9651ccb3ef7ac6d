// Optimizers: a rule, which is a formula for one parameter, and the driver that all rules share.
//
// A rule is a plain struct of numbers with
//   struct Slots { Variable m, v; };         what it keeps for each parameter (optional): zeros like the parameter at first
//   Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const     the new value; without Slots, no s
// A field `rate` is multiplied by the schedule and given as k.rate; without one, k.rate is the schedule's factor alone.
#pragma once

#include <initializer_list>
#include <rewind/autograd/fields.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/structs.hpp>
#include <rewind/optim/schedule.hpp>

namespace rw::optim {

/// What a rule knows of the step.
struct Step {
  Index number;  ///< from 1
  double rate;   ///< the rule's rate times the schedule's factor
};

/// The part that does not depend on the rule.
class OptimizerBase {
 public:
  virtual ~OptimizerBase();
  OptimizerBase(const OptimizerBase&) = delete;
  OptimizerBase& operator=(const OptimizerBase&) = delete;

  /// Gives every parameter that has a gradient and is not frozen its new value, then clears the gradients. What can fail is done before
  /// anything is written; so an exception leaves values, slots and gradients as they were, unless memory runs out. Values and slots whose
  /// memory nobody else holds, as a Variable or Tensor of it does, are written in place. Throws ValueError naming the parameter if
  /// a gradient is not finite; TapeError if a listed parameter belongs to no module any more, or if one of this thread's has a gradient
  /// but stands in no list of fields.
  void step();
  /// Drops the gradients of all parameters: after an exception of step(), for example.
  void clear();

  /// Scales all gradients by one factor so that their norm over all groups is at most `norm`; 0 switches it off. Throws ValueError if
  /// negative.
  void clip_norm(double norm);
  /// Holds each entry of each gradient within [-value, value], after clip_norm; 0 switches it off. Throws ValueError if negative.
  void clip_value(double value);
  void schedule(Schedule schedule) { schedule_ = std::move(schedule); }

  Index number() const { return number_; }                 ///< steps taken
  double gradient_norm() const { return gradient_norm_; }  ///< of the last step, over all groups, before clipping
  /// The rate of the first group in the last step taken (before any: in the first).
  double rate() const;

  /// The slots by name, "lstm.0.wh.m"; with several groups the group's number comes first: "0.lstm.0.wh.m".
  NamedTensors slots() const;
  /// Goes on from saved slots and the number of steps taken. Throws ValueError if names are missing or unknown, ShapeError, DTypeError;
  /// all are checked before anything is written.
  void restore(const NamedTensors& slots, Index number);

 protected:
  /// A parameter, and its slots flattened.
  struct Entry {
    NamedParameter parameter;
    std::size_t group;
    rw::detail::List<Variable> slots;
    bool active() const { return !parameter.place.gradient().empty() && !parameter.place.frozen() && parameter.place.value().size() > 0; }
  };
  explicit OptimizerBase(std::string_view rule) : rule_(rule) {}
  void add_group(const ParameterList& parameters, std::vector<std::string> slot_names);
  virtual Variable update(std::size_t group, const Variable& p, const Variable& g, rw::detail::List<Variable>& slots, Step step) const = 0;
  virtual double base_rate(std::size_t group) const = 0;

 private:
  struct Update;
  void check_places() const;
  double norm_of_gradients() const;
  rw::detail::List<Update> record(const Variable& scale) const;
  std::string slot_name(const Entry& entry, std::size_t slot) const;

  std::string_view rule_;
  std::vector<Entry> entries_;
  std::vector<std::string> slot_names_;
  std::size_t groups_ = 0;
  double clip_norm_ = 0, clip_value_ = 0, gradient_norm_ = 0;
  Schedule schedule_;
  Index number_ = 0;
};

template <class Rule>
struct Group {
  ParameterList parameters;
  Rule rule = {};
};

namespace detail {
struct NoSlots {};
template <class Rule>
struct SlotsOf {
  using type = NoSlots;
};
template <class Rule>
requires requires { typename Rule::Slots; }
struct SlotsOf<Rule> {
  using type = typename Rule::Slots;
};
}  // namespace detail

/// An optimizer from a rule. It holds the parameters' places, not the model: the model may move.
template <class Rule>
class Optimizer final : public OptimizerBase {
  using Slots = typename detail::SlotsOf<Rule>::type;
  static_assert(VariableStruct<Slots>, "Optimizer<Rule>: Rule::Slots must be a struct of Variables");
  static constexpr bool with_slots = std::is_invocable_r_v<Variable, const Rule&, const Variable&, const Variable&, Slots&, const Step&>;
  static_assert(with_slots || std::is_invocable_r_v<Variable, const Rule&, const Variable&, const Variable&, const Step&>,
                "Optimizer<Rule>: the rule needs Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const");

 public:
  /// Throws ValueError if a parameter is listed twice, or a name stands twice in a group.
  explicit Optimizer(const ParameterList& parameters, const Rule& rule = {}) : OptimizerBase(name()) { add({parameters, rule}); }
  explicit Optimizer(std::initializer_list<Group<Rule>> groups) : OptimizerBase(name()) {
    for (const auto& group : groups) add(group);
  }

  /// The numbers of a group's rule; they may be changed between steps.
  Rule& rule(std::size_t group = 0) { return rules_.at(group); }
  const Rule& rule(std::size_t group = 0) const { return rules_.at(group); }

 private:
  static std::string_view name() { return rw::detail::type_name(rw::detail::type_spelling<Rule>()); }

  void add(const Group<Rule>& group) {
    std::vector<std::string> names;
    field_names(Slots{}, names);
    add_group(group.parameters, std::move(names));
    rules_.push_back(group.rule);
  }
  Variable update(std::size_t group, const Variable& p, const Variable& g, rw::detail::List<Variable>& slots, Step step) const override {
    if constexpr (with_slots) {
      Slots s = unflatten_like(Slots{}, slots);
      Variable result = rules_[group](p, g, s, step);
      slots.clear();
      flatten(s, slots);
      return result;
    } else {
      return rules_[group](p, g, step);
    }
  }
  double base_rate(std::size_t group) const override {
    if constexpr (requires { rules_[group].rate; })
      return rules_[group].rate;
    else
      return 1;
  }

  std::vector<Rule> rules_;
};

}  // namespace rw::optim
