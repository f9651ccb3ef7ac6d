#include <rewind/core/format.hpp>
#include <rewind/train/curve.hpp>
#include <rewind/train/plot.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rw::train {

namespace {

/// The range of nats that shows the curves: the first rows of a training may be far above the rest.
std::pair<double, double> range(const std::vector<Metrics>& rows, double reference) {
  double low = reference > 0 ? reference : HUGE_VAL, high = reference > 0 ? reference : 0;
  for (const Metrics& m : rows) {
    low = std::min({low, m.train_nats, m.valid_nats});
    high = std::max({high, m.train_nats, m.valid_nats});
  }
  const double margin = std::max(0.06 * (high - low), 0.02);
  return {std::max(0.0, low - margin), high + margin};
}

std::string script(const std::string& path, const std::string& csv, const std::vector<Metrics>& rows, const CurveOptions& options) {
  const bool million = rows.back().tokens >= 1'000'000;
  const double unit = million ? 1e6 : 1e3, reference = options.reference_bits * std::numbers::ln2;
  const auto [low, high] = range(rows, reference);
  std::string s = plot::page(path, 1200, 750);
  s += fmt::format("set title {} noenhanced offset 0,0.3 textcolor '#222222'; ", plot::quoted(options.title));
  s += "set key top right Left reverse samplen 2 spacing 1.3 textcolor '#222222'; ";
  s += fmt::format("set xlabel 'symbols trained on ({})' textcolor '#444444'; ", million ? "millions" : "thousands");
  s += "set ylabel 'loss (nats a symbol)' textcolor '#444444'; set y2label 'bits a character' textcolor '#444444'; ";
  s += fmt::format("set xrange [0:{}]; set yrange [{}:{}]; ", static_cast<double>(rows.back().tokens) / unit * 1.02, low, high);
  s += fmt::format("set y2range [{}:{}]; set y2tics; ", low / std::numbers::ln2, high / std::numbers::ln2);
  s += "set style line 1 linecolor '#9db8d9' linewidth 2 pointtype 7 pointsize 0.35; ";
  s += "set style line 2 linecolor '#c8402f' linewidth 2.5 pointtype 7 pointsize 0.55; ";
  if (reference > 0) {
    s += fmt::format("set arrow from graph 0, first {0} to graph 1, first {0} nohead back linecolor '#777777' linewidth 1.5 dashtype 2; ",
                     reference);
    s += fmt::format("set label {} at graph 0.012, first {} left offset 0,0.6 noenhanced textcolor '#666666'; ",
                     plot::quoted(options.reference_name), reference);
  }
  s += "plot ";
  s += fmt::format("{0} every ::1 using ($2/{1}):3 with linespoints linestyle 1 title 'training', ", plot::quoted(csv), unit);
  s += fmt::format("{0} every ::1 using ($2/{1}):4 with linespoints linestyle 2 title {2}", plot::quoted(csv), unit,
                   plot::quoted(fmt::format("validation, at the end {:.3f}", rows.back().valid_nats)));
  return s;
}

}  // namespace

std::string draw_curve(const std::string& path, const std::string& csv, const CurveOptions& options) {
  MetricsLog log(csv);
  log.read();
  if (log.rows().empty()) return "there is no evaluation yet";
  return plot::draw(path, [&](const std::string& part) { return script(part, csv, log.rows(), options); });
}

}  // namespace rw::train
