#include <map>
#include <mutex>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/core/format.hpp>

namespace rw {
namespace detail {
namespace {

// Places that no list of fields names yet: few, for a model is listed as soon as it has an optimizer.
std::mutex unlisted_mutex;
Place* unlisted = nullptr;

const void* this_thread() {
  static thread_local char token;
  return &token;
}

void unlink(Place* place) {
  std::lock_guard lock(unlisted_mutex);
  if (place->listed) return;
  if (place->next) place->next->previous = place->previous;
  (place->previous ? place->previous->next : unlisted) = place->next;
  place->listed = true;
}

}  // namespace

void hold(Place* place) noexcept { place->references.fetch_add(1, std::memory_order_relaxed); }

void drop(Place* place) noexcept {
  if (place->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  unlink(place);
  attach(place->value, nullptr);
  delete place;
}

Place* make_place(const Tensor& value) {
  auto* place = new Place;
  place->value = Variable(value);
  attach(place->value, place);
  place->thread = this_thread();
  std::lock_guard lock(unlisted_mutex);
  place->next = unlisted;
  if (unlisted) unlisted->previous = place;
  unlisted = place;
  return place;
}

void rebind(Place* place, Variable leaf) noexcept {
  attach(place->value, nullptr);
  place->value = std::move(leaf);
  attach(place->value, place);
}

void list_place(Place* place) { unlink(place); }

Place* unlisted_place_with_gradient() {
  std::lock_guard lock(unlisted_mutex);
  for (Place* p = unlisted; p; p = p->next)
    if (p->thread == this_thread() && !p->gradient.empty()) return p;
  return nullptr;
}

struct CopyScope::Map {
  std::map<const Place*, PlaceRef> copies;
};
thread_local CopyScope* CopyScope::innermost_ = nullptr;

CopyScope::CopyScope() : map_(new Map), outer_(std::exchange(innermost_, this)) {}
CopyScope::~CopyScope() {
  innermost_ = outer_;
  delete map_;
}

}  // namespace detail

namespace {

detail::Place* require(detail::Place* place) {
  if (!place) fail<TapeError>("Parameter: it was moved from: it has no value (assign one, or use the parameter that it was moved to)");
  return place;
}

void require_same(const char* op, const Variable& here, const Shape& shape, DType dtype) {
  if (here.shape() != shape)
    fail<ShapeError>("{}: shapes differ: the parameter is {}, what it gets {} (they must be equal)", op, here.shape(), shape);
  if (here.dtype() != dtype) {
    fail<DTypeError>("{}: dtypes differ: the parameter is {}, what it gets {} (cast the value, or the model with cast(model, dtype))", op,
                     here.dtype(), dtype);
  }
}

}  // namespace

PlaceRef::PlaceRef(detail::Place* place) noexcept : place_(place) {
  if (place_) detail::hold(place_);
}
PlaceRef::PlaceRef(const PlaceRef& other) noexcept : PlaceRef(other.place_) {}
PlaceRef::~PlaceRef() {
  if (place_) detail::drop(place_);
}

const Variable& PlaceRef::value() const { return require(place_)->value; }
const Variable& PlaceRef::gradient() const { return require(place_)->gradient; }
bool PlaceRef::frozen() const { return require(place_)->frozen; }
int PlaceRef::owners() const { return require(place_)->owners.load(std::memory_order_relaxed); }
void PlaceRef::set_frozen(bool frozen) const { require(place_)->frozen = frozen; }

void PlaceRef::set_value(const Tensor& value) const {
  require_same("Parameter", require(place_)->value, value.shape(), value.dtype());
  detail::rebind(place_, Variable(value));
}

void PlaceRef::set_gradient(const Variable& gradient) const {
  require(place_);
  if (!gradient.empty() && gradient.shape() != place_->value.shape()) {
    fail<ShapeError>("Parameter: a gradient has the parameter's shape: the parameter is {}, the gradient {} (they must be equal)",
                     place_->value.shape(), gradient.shape());
  }
  place_->gradient = gradient;
}

void Parameter::make(const Tensor& value) {
  if (!is_floating(value.dtype()))
    fail<DTypeError>("Parameter: it is trained, so it must be f32 or f64: got {} (cast the value)", value.dtype());
  place_ = PlaceRef(detail::make_place(value));
  own();
}

Parameter::Parameter(const Parameter& other) {
  detail::Place* from = require(other.place_.get());
  auto* scope = detail::CopyScope::innermost_;
  if (!scope && other.place_.owners() > 1) {
    fail<TapeError>(
        "Parameter: a shared parameter of shape {} was copied alone, which would untie it (copy the whole model with copy(model), or give "
        "the new "
        "one its value: Parameter(other.value()))",
        other.shape());
  }
  PlaceRef copy = scope ? scope->map_->copies[from] : PlaceRef();
  if (!copy.get()) {
    copy = PlaceRef(detail::make_place(from->value.value()));
    copy.set_frozen(from->frozen);
    if (scope) scope->map_->copies[from] = copy;
  }
  place_ = std::move(copy);
  own();
}

Parameter::Parameter(Parameter&& other) noexcept : place_(std::move(other.place_)) {}

Parameter& Parameter::operator=(const Parameter& other) {
  if (this == &other) return *this;
  return *this = other.value();
}

Parameter& Parameter::operator=(Parameter&& other) {
  if (this == &other) return *this;
  if (place_.get()) return *this = other.value();
  place_ = std::move(other.place_);
  return *this;
}

Parameter& Parameter::operator=(const Tensor& value) {
  if (!place_.get()) return *this = Parameter(value);
  place_.set_value(value);
  return *this;
}

Parameter& Parameter::operator=(Shared other) {
  const Variable& theirs = other.place.value();
  if (place_.get()) require_same("share", place_.value(), theirs.shape(), theirs.dtype());
  disown();
  place_ = std::move(other.place);
  own();
  return *this;
}

Parameter::~Parameter() { disown(); }

void Parameter::own() noexcept { place_.get()->owners.fetch_add(1, std::memory_order_relaxed); }
void Parameter::disown() noexcept {
  if (place_.get()) place_.get()->owners.fetch_sub(1, std::memory_order_relaxed);
}

Shared share(const Parameter& parameter) {
  require(parameter.place().get());
  return {parameter.place()};
}

}  // namespace rw
