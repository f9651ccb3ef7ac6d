// The measurements of a training run, and their file metrics.csv.
#pragma once

#include <rewind/core/dtype.hpp>
#include <string>
#include <vector>

namespace rw::train {

/// One evaluation: a row of metrics.csv. Only the last two depend on the clock.
struct Metrics {
  Index step = 0;            ///< steps done
  Index tokens = 0;          ///< symbols trained on
  double train_nats = 0;     ///< mean loss of the steps since the row before, nats a symbol
  double valid_nats = 0;     ///< over the whole held-out text, nats a symbol
  double gradient_norm = 0;  ///< of the last step, before clipping
  double rate = 0;           ///< of the last step
  double tokens_per_s = 0;   ///< since the row before (clock)
  double seconds = 0;        ///< of training since its start, without evaluations (clock)

  double bits_per_char() const;  ///< valid_nats / ln 2
};

/// metrics.csv: a line of names, then a row an evaluation, each written at once. Numbers have the nine digits that name a float.
class MetricsLog {
 public:
  explicit MetricsLog(const std::string& path) : path_(path) {}

  /// Reads the file; a last row that was cut short is left out. Throws IoError if it cannot be read, naming the line that is not a row.
  void read();
  /// Reads the file, drops the rows after `last_step`, and writes it again.
  void resume(Index last_step);
  /// Adds a row. The first call writes the file anew, atomically. Throws IoError if it cannot be written; then no part of the row is left.
  void write(const Metrics& row);
  /// Writes the file anew, with the rows that there are: for a run that ends before its first evaluation.
  void rewrite();

  const std::vector<Metrics>& rows() const { return rows_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<Metrics> rows_;
  std::vector<std::string> lines_;  // of the rows, as they stand in the file: nothing is rounded twice
  bool begun_ = false;
};

}  // namespace rw::train
