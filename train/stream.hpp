// Symbols in batches [T, B] whose columns go on where they ended, for truncated back-propagation through time.
#pragma once

#include <rewind/core/tensor.hpp>

namespace rw::train {

struct StreamOptions {
  Index batch = 32;  ///< B: columns side by side
  Index time = 64;   ///< T: steps of a batch
};

/// i32 [T, B] each: y is what follows x.
struct Batch {
  Tensor x, y;
};

/// A circular walk of B columns over N symbols. Column b begins at symbol b N / B (rounded down) and goes on without end: past the last
/// symbol follows the first. So a carried state always fits the next batch, nothing is ever dropped, and after N / B steps each column
/// enters the ground of its neighbour.
class Stream {
 public:
  /// symbols: i32 [N], shared. Throws ValueError unless 1 <= B, 1 <= T and B T < N.
  Stream(const Tensor& symbols, const StreamOptions& options);

  Index batch() const { return options_.batch; }
  Index time() const { return options_.time; }
  Index symbols() const { return symbols_.size(); }
  /// Batches of an epoch: N / (B T), rounded down.
  Index batches() const { return symbols() / (batch() * time()); }

  /// The next batch; moves T steps on.
  Batch next();

  /// Steps that every column has gone, modulo N: what to save, and what to give back to go on.
  Index position() const { return position_; }
  /// Throws ValueError unless 0 <= position < N.
  void seek(Index position);

  /// `for (auto [x, y] : stream.epoch())`: the next batches() batches. The next epoch goes on from there.
  class Epoch {
   public:
    class Iterator {
     public:
      Iterator(Stream* stream, Index left) : stream_(stream), left_(left) {}
      Batch operator*() const { return stream_->next(); }  ///< to be called once a step, as a range-for does
      Iterator& operator++() {
        --left_;
        return *this;
      }
      bool operator!=(const Iterator& other) const { return left_ != other.left_; }

     private:
      Stream* stream_;
      Index left_;
    };
    explicit Epoch(Stream* stream) : stream_(stream) {}
    Iterator begin() const { return {stream_, stream_->batches()}; }
    Iterator end() const { return {stream_, 0}; }

   private:
    Stream* stream_;
  };
  Epoch epoch() & { return Epoch(this); }
  Epoch epoch() && = delete;  ///< the stream would be gone before the first batch: give it a name

 private:
  Tensor symbols_;
  StreamOptions options_;
  Index position_ = 0;
};

/// How every symbol of a text but the first is predicted exactly once, in contiguous columns that run side by side. Of N - 1 predictions
/// column 0 makes the first `warm` by itself, while the others read the `warm` symbols before their own part; then all make L each, but
/// for the last one, which is shorter where they do not come out even. With one column it is a single pass over the text.
struct EvaluationOptions {
  Index columns = 32;  ///< at most; fewer where a column would be shorter than 4 warm
  Index time = 64;     ///< steps of a batch, at most
  Index warm = 256;    ///< symbols that a column reads before it predicts
};

/// A batch of an evaluation: i32 [t, columns] each, of which the predictions of the columns 0 .. counted-1 count.
struct EvaluationBatch {
  Tensor x, y;
  Index counted = 0;
};

/// Such a plan for symbols i32 [N].
class EvaluationPlan {
 public:
  /// Throws ValueError unless N >= 2, columns and time are positive, and warm is not negative.
  explicit EvaluationPlan(const Tensor& symbols, const EvaluationOptions& options = {});

  Index columns() const { return columns_; }
  Index predictions() const { return symbols_.size() - 1; }
  Index batches() const;
  /// i in 0 .. batches()-1: to be run in this order, with carried state.
  EvaluationBatch batch(Index i) const;

 private:
  struct Phase {
    Index steps, counted;
  };
  Tensor symbols_;
  Index time_, columns_ = 1, length_ = 0;
  Phase phases_[3] = {};  // warming up, all columns, all but the last
};

}  // namespace rw::train
