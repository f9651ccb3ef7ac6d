#include <algorithm>
#include <cmath>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/format.hpp>
#include <rewind/optim/optimizer.hpp>
#include <set>

namespace rw::optim {

/// The new value and slots of an entry, not yet written.
struct OptimizerBase::Update {
  std::size_t entry;
  Variable value;
  rw::detail::List<Variable> slots;
};

OptimizerBase::~OptimizerBase() = default;

void OptimizerBase::add_group(const ParameterList& parameters, std::vector<std::string> slot_names) {
  std::set<std::string_view> names;
  for (const auto& p : parameters) {
    if (!names.insert(p.name).second) {
      fail<ValueError>("{}: the name {} stands twice in a group (list modules in groups of their own, or in a module that names them)",
                       rule_, p.name);
    }
    for (const auto& e : entries_) {
      if (e.parameter.place == p.place) {
        fail<ValueError>("{}: parameter {} is listed twice: in group {} as {} (each parameter belongs to one group)", rule_, p.name,
                         e.group, e.parameter.name);
      }
    }
    const Variable& value = p.place.value();
    rw::detail::List<Variable> slots;
    for (std::size_t i = 0; i < slot_names.size(); ++i) slots.emplace_back(Tensor::zeros(value.shape(), value.dtype()));
    entries_.push_back({p, groups_, std::move(slots)});
  }
  slot_names_ = std::move(slot_names);
  ++groups_;
}

void OptimizerBase::check_places() const {
  for (const auto& e : entries_) {
    if (e.parameter.place.owners() == 0) {
      fail<TapeError>(
          "{}: parameter {} belongs to no model any more (make the optimizer after the model has its final form, and anew for a new one)",
          rule_, e.parameter.name);
    }
  }
  if (auto* place = rw::detail::unlisted_place_with_gradient()) {
    fail<TapeError>("{}: a parameter of shape {} has a gradient but stands in no list of fields (add it to its class's REWIND_FIELDS)",
                    rule_, place->value.shape());
  }
}

rw::detail::List<OptimizerBase::Update> OptimizerBase::record(const Variable& scale) const {
  rw::detail::List<Update> updates;
  Index k = number_ + 1;
  double factor = schedule_(k);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const auto& [parameter, group, slots] = entries_[i];
    const Variable &p = parameter.place.value(), &gradient = parameter.place.gradient();
    if (!entries_[i].active()) continue;
    Variable g = gradient;
    if (!scale.empty()) g *= scale;
    if (clip_value_ > 0) g = clamp(g, -clip_value_, clip_value_);
    Update u{i, {}, slots};
    u.value = update(group, p, g, u.slots, {k, base_rate(group) * factor});
    auto require = [&](const Variable& made, const char* what) {
      if (made.shape() != p.shape() || made.dtype() != p.dtype()) {
        fail<ShapeError>("{}: the rule gives {} of {} {} for parameter {} of {} {} (they must be equal)", rule_, what, made.dtype(),
                         made.shape(), parameter.name, p.dtype(), p.shape());
      }
    };
    require(u.value, "a value");
    for (const auto& s : u.slots) require(s, "a slot");
    updates.push_back(std::move(u));
  }
  return updates;
}

double OptimizerBase::norm_of_gradients() const {
  Variable squares;
  for (const auto& e : entries_) {
    if (!e.active()) continue;
    auto s = sum(square(e.parameter.place.gradient()));
    squares = squares.empty() ? s : squares + s;
  }
  if (squares.empty()) return 0;
  const double total = squares.item();
  if (total >= 1e-30 && total <= 1e30) return std::sqrt(total);
  // Squares that left the range of f32, or an entry that is not finite: look at the largest entries first.
  double largest = 0;
  for (const auto& e : entries_) {
    if (!e.active()) continue;
    const double entry = max(abs(e.parameter.place.gradient())).item();
    if (!std::isfinite(entry)) {
      fail<ValueError>(
          "{}: the gradient of {} is not finite at step {} (nothing was changed: clear() the gradients, then look at the loss and the "
          "rate)",
          rule_, e.parameter.name, number_ + 1);
    }
    largest = std::max(largest, entry);
  }
  double scaled = 0;
  for (const auto& e : entries_)
    if (e.active() && largest > 0) scaled += sum(square(e.parameter.place.gradient() / largest)).item();
  return largest * std::sqrt(scaled);
}

void OptimizerBase::step() {
  check_places();
  NoGrad guard;
  const double norm = norm_of_gradients();
  Variable scale;
  if (clip_norm_ > 0) scale = norm > clip_norm_ ? clip_norm_ / norm : 1.0;
  auto updates = record(scale);
  rw::detail::List<Variable> results, leaves;
  rw::detail::List<const Variable*> old;
  for (const auto& u : updates) {
    const Entry& e = entries_[u.entry];
    results.push_back(u.value);
    old.push_back(&e.parameter.place.value());
    for (std::size_t i = 0; i < u.slots.size(); ++i) {
      results.push_back(u.slots[i]);
      old.push_back(&e.slots[i]);
    }
  }
  rw::detail::evaluate_over(results, old);
  for (auto& u : updates) {
    leaves.emplace_back(u.value.value());
    for (auto& s : u.slots) s = Variable(s.value());
  }
  for (std::size_t i = 0; i < updates.size(); ++i) {
    Entry& e = entries_[updates[i].entry];
    rw::detail::rebind(e.parameter.place.get(), std::move(leaves[i]));
    e.slots = std::move(updates[i].slots);
  }
  ++number_;
  gradient_norm_ = norm;
  clear();
}

void OptimizerBase::clear() {
  for (const auto& e : entries_) e.parameter.place.set_gradient({});
}

void OptimizerBase::clip_norm(double norm) {
  if (!(norm >= 0)) fail<ValueError>("{}: clip_norm is {} (it must not be negative)", rule_, norm);
  clip_norm_ = norm;
}

void OptimizerBase::clip_value(double value) {
  if (!(value >= 0)) fail<ValueError>("{}: clip_value is {} (it must not be negative)", rule_, value);
  clip_value_ = value;
}

double OptimizerBase::rate() const { return groups_ == 0 ? 0 : base_rate(0) * schedule_(std::max<Index>(number_, 1)); }

std::string OptimizerBase::slot_name(const Entry& entry, std::size_t slot) const {
  std::string name = groups_ > 1 ? std::to_string(entry.group) + "." + entry.parameter.name : entry.parameter.name;
  return slot_names_[slot].empty() ? name : name + "." + slot_names_[slot];
}

NamedTensors OptimizerBase::slots() const {
  NamedTensors result;
  for (const auto& e : entries_)
    for (std::size_t i = 0; i < e.slots.size(); ++i) result.emplace_back(slot_name(e, i), e.slots[i].value());
  return result;
}

void OptimizerBase::restore(const NamedTensors& slots, Index number) {
  if (number < 0) fail<ValueError>("{}: the number of steps is {} (it must not be negative)", rule_, number);
  rw::detail::List<Variable> found;
  for (const auto& e : entries_) {
    for (std::size_t i = 0; i < e.slots.size(); ++i) {
      std::string name = slot_name(e, i);
      auto at = std::find_if(slots.begin(), slots.end(), [&](const auto& s) { return s.first == name; });
      if (at == slots.end())
        fail<ValueError>("{}: slot {} is missing (was this state saved by the same optimizer for the same model?)", rule_, name);
      const Tensor& t = at->second;
      if (t.shape() != e.slots[i].shape()) {
        fail<ShapeError>("{}: slot {} is {}, the parameter {} (same sizes as when it was saved?)", rule_, name, t.shape(),
                         e.slots[i].shape());
      }
      if (t.dtype() != e.slots[i].dtype()) {
        fail<DTypeError>("{}: slot {} is {}, the parameter {} (same dtype as when it was saved?)", rule_, name, t.dtype(),
                         e.slots[i].dtype());
      }
      found.emplace_back(t);
    }
  }
  if (slots.size() != found.size()) {
    fail<ValueError>("{}: {} slots are given, but there are {} (was this state saved by the same optimizer for the same model?)", rule_,
                     slots.size(), found.size());
  }
  std::size_t next = 0;
  for (auto& e : entries_)
    for (auto& s : e.slots) s = std::move(found[next++]);
  number_ = number;
}

}  // namespace rw::optim
