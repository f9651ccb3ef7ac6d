#include <fcntl.h>
#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/core/safetensors.hpp>
#include <rewind/train/metrics.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numbers>

namespace rw::train {

namespace {

constexpr const char* header = "step,tokens,train_nats,valid_nats,bits_per_char,gradient_norm,rate,tokens_per_s,seconds\n";

std::string line(const Metrics& m) {
  return fmt::format("{},{},{:.9g},{:.9g},{:.9g},{:.9g},{:.9g},{:.9g},{:.9g}\n", m.step, m.tokens, m.train_nats, m.valid_nats,
                     m.bits_per_char(), m.gradient_norm, m.rate, m.tokens_per_s, m.seconds);
}

bool parse(const std::string& text, Metrics& m) {
  long long step, tokens;
  double bits;
  int end = -1;
  std::sscanf(text.c_str(), "%lld,%lld,%lf,%lf,%lf,%lf,%lf,%lf,%lf%n", &step, &tokens, &m.train_nats, &m.valid_nats, &bits,
              &m.gradient_norm, &m.rate, &m.tokens_per_s, &m.seconds, &end);
  if (end != static_cast<int>(text.size())) return false;
  m.step = step;
  m.tokens = tokens;
  return true;
}

}  // namespace

double Metrics::bits_per_char() const { return valid_nats / std::numbers::ln2; }

void MetricsLog::read() {
  const std::string text = io::read_file(path_);
  rows_.clear();
  lines_.clear();
  if (!text.starts_with(header)) fail<IoError>("metrics: {}: line 1 does not name the columns (is it the file of a training run?)", path_);
  std::size_t at = std::strlen(header);
  for (int number = 2; at < text.size(); ++number) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    Metrics row;
    if (!parse(text.substr(at, end - at), row)) fail<IoError>("metrics: {}: line {} is not a row of 9 numbers", path_, number);
    rows_.push_back(row);
    lines_.push_back(text.substr(at, end + 1 - at));
    at = end + 1;
  }
}

void MetricsLog::resume(Index last_step) {
  read();
  const auto end = std::find_if(rows_.begin(), rows_.end(), [&](const Metrics& row) { return row.step > last_step; });
  rows_.erase(end, rows_.end());
  lines_.resize(rows_.size());
  rewrite();
}

void MetricsLog::rewrite() {
  std::string text = header;
  for (const std::string& row : lines_) text += row;
  io::write_file(path_, text);
  begun_ = true;
}

void MetricsLog::write(const Metrics& row) {
  if (!begun_) rewrite();
  const std::string text = line(row);
  const int file = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  const off_t size = file < 0 ? -1 : ::lseek(file, 0, SEEK_END);
  const ssize_t written = file < 0 ? -1 : ::write(file, text.data(), text.size());
  const int reason = written < 0 ? errno : ENOSPC;
  const bool whole = written == static_cast<ssize_t>(text.size());
  const bool undone = whole || file < 0 || ::ftruncate(file, size) == 0;
  if (file >= 0) ::close(file);
  if (!whole)
    fail<IoError>("metrics: {}: a row cannot be written: {}{}", path_, std::strerror(reason),
                  undone ? "" : " (its last line is not whole)");
  rows_.push_back(row);
  lines_.push_back(text);
}

}  // namespace rw::train
