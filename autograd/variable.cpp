#include <rewind/autograd/evaluate.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>

namespace rw {

using detail::tape_of_thread;
using detail::Value;

Variable::Variable(const Tensor& tensor) {
  Tensor dense = tensor.storage()->writers() > 0 ? tensor.copy() : tensor.contiguous();
  auto& tape = tape_of_thread();
  auto* value = new Value;
  value->type = {dense.dtype(), dense.shape()};
  value->storage = dense.storage();
  value->offset = dense.offset() * size_of(dense.dtype());
  value->tape = &tape;
  value->counts.store(Value::one_handle, std::memory_order_relaxed);
  value->id = tape.next_id++;
  value_ = value;
}

namespace {
const detail::Type& type_of(const char* op, const Value* value) {
  if (!value) fail<TapeError>("{}: the Variable is empty (give it a value first)", op);
  return value->type;
}
}  // namespace

const Shape& Variable::shape() const { return type_of("shape", value_).shape; }

DType Variable::dtype() const {
  const auto& type = type_of("dtype", value_);
  return type.weak ? DType::f32 : type.dtype;
}

Tensor Variable::value() const {
  type_of("value", value_);
  detail::evaluate("value", value_);
  Tensor tensor = value_->tensor();
  return value_->type.weak ? tensor.cast(DType::f32) : tensor;
}

double Variable::item() const {
  const auto& type = type_of("item", value_);
  if (type.shape.size() != 1) fail<ShapeError>("item: one element is needed: the variable is {} (reduce it, or use value())", type.shape);
  detail::evaluate("item", value_);
  return value_->number_set ? value_->number : value_->tensor().item<double>();
}

Variable Variable::operator[](Index i) const { return select(*this, 0, i); }

NoGrad::NoGrad() : before_(std::exchange(tape_of_thread().no_grad, true)) {}
NoGrad::~NoGrad() { tape_of_thread().no_grad = before_; }
Evaluation::Evaluation() : before_(std::exchange(tape_of_thread().evaluating_model, true)) {}
Evaluation::~Evaluation() { tape_of_thread().evaluating_model = before_; }
bool training() { return !tape_of_thread().evaluating_model; }

}  // namespace rw
