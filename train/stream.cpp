#include <rewind/core/format.hpp>
#include <rewind/train/stream.hpp>

#include <algorithm>

namespace rw::train {

namespace {

void check_symbols(const char* op, const Tensor& symbols) {
  if (symbols.dtype() != DType::i32)
    fail<DTypeError>("{}: symbols must be i32: got {} (Vocabulary::encode makes them)", op, symbols.dtype());
  if (symbols.rank() != 1) fail<ShapeError>("{}: symbols must have one axis: got {} (a text is one row of symbols)", op, symbols.shape());
}

}  // namespace

Stream::Stream(const Tensor& symbols, const StreamOptions& options) : options_(options) {
  check_symbols("stream", symbols);
  symbols_ = symbols.contiguous();
  if (batch() < 1 || time() < 1) fail<ValueError>("stream: batch and time must be positive: got {} and {}", batch(), time());
  const Index n = symbols_.size();
  if (batch() >= n || time() >= n || batch() * time() >= n)
    fail<ValueError>("stream: the text is shorter than a batch: {} symbols for {} columns of {} steps (take fewer columns or steps)", n,
                     batch(), time());
}

Batch Stream::next() {
  const Index b = batch(), t = time(), n = symbols();
  Batch result{Tensor({t, b}, DType::i32), Tensor({t, b}, DType::i32)};
  const std::int32_t* in = static_cast<const Tensor&>(symbols_).data<std::int32_t>();
  std::int32_t *x = result.x.data<std::int32_t>(), *y = result.y.data<std::int32_t>();
  for (Index column = 0; column < b; ++column) {
    Index at = (column * n / b + position_) % n;
    for (Index step = 0; step < t; ++step) {
      const Index next = at + 1 == n ? 0 : at + 1;
      x[step * b + column] = in[at];
      y[step * b + column] = in[next];
      at = next;
    }
  }
  position_ = (position_ + t) % n;
  return result;
}

void Stream::seek(Index position) {
  if (position < 0 || position >= symbols())
    fail<ValueError>("stream: position {} lies outside the text of {} symbols (is it the same text?)", position, symbols());
  position_ = position;
}

EvaluationPlan::EvaluationPlan(const Tensor& symbols, const EvaluationOptions& options) : time_(options.time) {
  check_symbols("evaluation", symbols);
  symbols_ = symbols.contiguous();
  if (options.columns < 1 || options.time < 1 || options.warm < 0)
    fail<ValueError>("evaluation: columns and time must be positive, warm not negative: got {}, {} and {}", options.columns, options.time,
                     options.warm);
  if (symbols_.size() < 2) fail<ValueError>("evaluation: nothing to predict: {} symbols (at least 2 are needed)", symbols_.size());
  const Index n = predictions(), most = std::min(options.columns, n / std::max<Index>(1, 5 * options.warm));
  const Index warm = most > 1 ? options.warm : 0, shared = n - warm;
  length_ = (shared + std::max<Index>(1, most) - 1) / std::max<Index>(1, most);
  columns_ = (shared + length_ - 1) / length_;
  const Index missing = columns_ * length_ - shared;
  phases_[0] = {warm, 1};
  phases_[1] = {length_ - missing, columns_};
  phases_[2] = {missing, columns_ - 1};
}

Index EvaluationPlan::batches() const {
  Index sum = 0;
  for (const Phase& phase : phases_) sum += (phase.steps + time_ - 1) / time_;
  return sum;
}

EvaluationBatch EvaluationPlan::batch(Index i) const {
  Index gone = 0;
  const Phase* phase = phases_;
  for (; i >= (phase->steps + time_ - 1) / time_; ++phase) {
    i -= (phase->steps + time_ - 1) / time_;
    gone += phase->steps;
  }
  const Index steps = std::min(time_, phase->steps - i * time_), n = predictions();
  gone += i * time_;
  EvaluationBatch result{Tensor({steps, columns_}, DType::i32), Tensor({steps, columns_}, DType::i32), phase->counted};
  const std::int32_t* in = symbols_.data<std::int32_t>();
  std::int32_t *x = result.x.data<std::int32_t>(), *y = result.y.data<std::int32_t>();
  for (Index step = 0; step < steps; ++step)
    for (Index column = 0; column < columns_; ++column) {
      const Index at = std::min(column * length_ + gone + step, n - 1);  // past its end, the last column repeats a symbol
      x[step * columns_ + column] = in[at];
      y[step * columns_ + column] = in[at + 1];
    }
  return result;
}

}  // namespace rw::train
