// The loss curve of a run, drawn by gnuplot.
#pragma once

#include <rewind/train/metrics.hpp>
#include <string>

namespace rw::train {

struct CurveOptions {
  std::string title = {};           ///< of the drawing: the model, the text
  double reference_bits = 0;        ///< a line to compare with, bits a character; 0: none
  std::string reference_name = {};  ///< what stands at that line
};

/// Draws the rows of a metrics.csv: training and validation loss (left axis nats a symbol, right axis bits) over the symbols trained on.
/// `path` ends in .svg or .png; it is replaced as a whole. Gives "" if it was drawn, else why not: no rows, no gnuplot, or gnuplot's own
/// words. Throws IoError if the drawing cannot be put in its place.
std::string draw_curve(const std::string& path, const std::string& csv, const CurveOptions& options);

}  // namespace rw::train
