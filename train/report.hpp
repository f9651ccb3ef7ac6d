// What a training run says while it runs: a table with a row an evaluation, and on a terminal one line that keeps changing.
#pragma once

#include <rewind/autograd/fields.hpp>
#include <rewind/train/metrics.hpp>
#include <string>
#include <vector>

namespace rw::train {

/// 1234567 as "1,234,567"; 83 seconds as "1:23".
std::string with_commas(Index number);
std::string duration(double seconds);

/// The model as a table: name, shape, parameters, bytes of each, and their sums.
std::string model_table(const std::vector<ParameterRow>& rows);

/// Writes to standard output. Rows are plain lines everywhere; the changing line is there only if it is a terminal.
class Report {
 public:
  /// reference_bits stands beside the model's bits a character; 0: none.
  explicit Report(double reference_bits = 0);
  /// The table's head at the first call, then a row; `left` in seconds.
  void row(const Metrics& metrics, double left);
  /// The changing line, at most ten times a second.
  void progress(Index step, double train_nats, double tokens_per_s, double left);
  /// A line of its own.
  void line(const std::string& text);

 private:
  void clear();
  double reference_bits_;
  bool terminal_, begun_ = false, dirty_ = false;
  double shown_ = 0;  // when the changing line was written last
};

}  // namespace rw::train
