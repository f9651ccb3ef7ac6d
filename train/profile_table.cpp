#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>
#include <rewind/train/profile_table.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace rw::train {

namespace {

constexpr double least_share = 1.0 / 400;

/// Bytes a second of the team's copying: the best of a few rounds.
double copy_rate() {
  const Index cache = std::max<Index>(::sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
  const Index bytes = std::clamp<Index>(cache, 64 << 20, 256 << 20);
  std::vector<std::byte> from(static_cast<std::size_t>(bytes), std::byte{1}), to(static_cast<std::size_t>(bytes));
  double best = 0;
  for (int round = 0; round < 4; ++round) {
    const auto start = std::chrono::steady_clock::now();
    parallel(threads(), [&](int part) {
      const Share share = share_of(bytes, part, threads(), 4096);
      std::memcpy(to.data() + share.begin, from.data() + share.begin, static_cast<std::size_t>(share.end - share.begin));
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 2 * static_cast<double>(bytes) / seconds);
  }
  return best;
}

std::string rate(double amount, double seconds) { return amount > 0 && seconds > 0 ? fmt::format("{:.1f}", amount / seconds * 1e-9) : ""; }

std::string bound(const ProfileRow& row, const ProfileBounds& bounds) {
  const double arithmetic = bounds.flops > 0 ? row.flops / (row.dtype == DType::f64 ? bounds.flops / 2 : bounds.flops) : 0;
  const double memory = bounds.bytes > 0 ? row.bytes / bounds.bytes : 0;
  if (std::max(arithmetic, memory) == 0 || row.seconds == 0) return "";
  return fmt::format("{:<10} {:>5.2f}", arithmetic > memory ? "arithmetic" : "memory", std::max(arithmetic, memory) / row.seconds);
}

std::string line(const std::string& kind, std::size_t width, const std::string& shape, std::size_t shapes, const std::string& calls,
                 const std::string& ms, const std::string& share, const std::string& gfs, const std::string& gbs,
                 const std::string& reached) {
  std::string text = fmt::format("{:<{}}  {:<{}}  {:>9}  {:>10}  {:>6}  {:>7}  {:>7}  {}", kind, width, shape, shapes, calls, ms, share,
                                 gfs, gbs, reached);
  text.resize(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

}  // namespace

ProfileBounds measure_profile_bounds() { return {peak_flops(DType::f32, threads(), 20, 0.01), copy_rate()}; }

std::string profile_table(const Profile& profile, const ProfileBounds& bounds) {
  if (profile.rows.empty()) return "";
  std::size_t kinds = 4, shapes = 5;
  ProfileRow rest;
  int others = 0;
  std::vector<const ProfileRow*> shown;
  for (const ProfileRow& row : profile.rows) {
    if (row.seconds < least_share * profile.plans) {
      ++others;
      rest.calls += row.calls;
      rest.seconds += row.seconds;
      continue;
    }
    shown.push_back(&row);
    kinds = std::max(kinds, row.kind.size());
    shapes = std::max(shapes, row.shape.size() + (row.dtype == DType::f64 ? 4 : 0));
  }
  auto ms = [](double seconds) { return fmt::format("{:.3f}", seconds * 1e3); };
  auto share = [&](double seconds) { return fmt::format("{:.1f} %", 100 * seconds / profile.plans); };
  std::string text = fmt::format("plans ran {:.3f} of {:.3f} s; bounds: {:.1f} GF/s, {:.1f} GB/s\n", profile.plans, profile.elapsed,
                                 bounds.flops * 1e-9, bounds.bytes * 1e-9);
  text += line("kind", kinds, "shape", shapes, "calls", "ms", "share", "GF/s", "GB/s", "bound, reached");
  for (const ProfileRow* row : shown)
    text +=
        line(row->kind, kinds, row->shape + (row->dtype == DType::f64 ? " f64" : ""), shapes, std::to_string(row->calls), ms(row->seconds),
             share(row->seconds), rate(row->flops, row->seconds), rate(row->bytes, row->seconds), bound(*row, bounds));
  if (others > 0)
    text += line("others", kinds, fmt::format("{} kinds", others), shapes, std::to_string(rest.calls), ms(rest.seconds),
                 share(rest.seconds), "", "", "");
  return text;
}

bool profile_wanted(bool option) {
  const char* word = std::getenv("REWIND_PROFILE");
  return option || (word && *word && std::string_view(word) != "0");
}

ProfileAtEnd::ProfileAtEnd(bool option, std::FILE* to) {
  if (!profile_wanted(option)) return;
  to_ = to;
  profile::start();
}

ProfileAtEnd::~ProfileAtEnd() {
  if (!to_) return;
  profile::stop();
  try {
    std::fflush(stdout);
    const std::string text = profile_table(profile::report(), measure_profile_bounds());
    std::fputs((text.empty() ? "no plan ran\n" : text).c_str(), to_);
  } catch (const std::exception& error) {
    std::fprintf(to_, "no profile: %s\n", error.what());
  }
  std::fflush(to_);
}

}  // namespace rw::train
