#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/train/report.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace rw::train {

std::string with_commas(Index number) {
  std::string digits = std::to_string(number);
  for (Index at = static_cast<Index>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

std::string duration(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "-";
  const long long s = std::llround(seconds);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string model_table(const std::vector<ParameterRow>& rows) {
  std::size_t name = 9, shape = 5;
  Index elements = 0, bytes = 0;
  for (const ParameterRow& row : rows) {
    name = std::max(name, row.name.size());
    shape = std::max(shape, to_string(row.shape).size());
    elements += row.elements;
    bytes += row.bytes;
  }
  std::string text = fmt::format("  {:{}}  {:{}}  {:>12}  {:>12}\n", "parameter", name, "shape", shape, "elements", "bytes");
  for (const ParameterRow& row : rows) {
    const std::string count = row.alias_of.empty() ? with_commas(row.elements) : "= " + row.alias_of;
    text += fmt::format("  {:{}}  {:{}}  {:>12}  {:>12}\n", row.name, name, to_string(row.shape), shape, count, with_commas(row.bytes));
  }
  return text + fmt::format("  {:{}}  {:{}}  {:>12}  {:>12}\n", "all", name, "", shape, with_commas(elements), with_commas(bytes));
}

Report::Report(double reference_bits) : reference_bits_(reference_bits), terminal_(::isatty(STDOUT_FILENO) != 0) {}

void Report::clear() {
  if (dirty_) std::fputs("\r\033[K", stdout);
  dirty_ = false;
}

void Report::row(const Metrics& m, double left) {
  clear();
  const bool reference = reference_bits_ > 0;
  if (!begun_)
    fmt::print("{:>8}  {:>9}  {:>7}  {:>7}  {:>9}  {}{:>8}  {:>8}  {:>7}\n", "step", "tokens/s", "train", "valid", "bits/char",
               reference ? "  xz -9  " : "", "gradient", "rate", "left");
  begun_ = true;
  fmt::print("{:>8}  {:>9}  {:>7.4f}  {:>7.4f}  {:>9.4f}  {}{:>8.3g}  {:>8.2e}  {:>7}\n", m.step, with_commas(std::llround(m.tokens_per_s)),
             m.train_nats, m.valid_nats, m.bits_per_char(), reference ? fmt::format("{:>7.4f}  ", reference_bits_) : "", m.gradient_norm,
             m.rate, duration(left));
  std::fflush(stdout);
}

void Report::progress(Index step, double train_nats, double tokens_per_s, double left) {
  if (!terminal_) return;
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (now - shown_ < 0.1) return;
  shown_ = now;
  dirty_ = true;
  fmt::print("\r\033[K{:>8}  {:>9}  {:>7.4f}  ({} left)", step, with_commas(std::llround(tokens_per_s)), train_nats, duration(left));
  std::fflush(stdout);
}

void Report::line(const std::string& text) {
  clear();
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

}  // namespace rw::train
