// What drawings by gnuplot share: strings, the look of a page, and a file that is replaced as a whole.
#pragma once

#include <rewind/core/team.hpp>
#include <string>

namespace rw::train::plot {

/// A string constant of gnuplot in single quotes, in which nothing but the quote itself means anything; a line's end becomes a space.
std::string quoted(const std::string& text);

/// Commands for a page of so many pixels (.svg: four fifths, it is scaled anyway) that goes to `path`, .png or .svg: fonts, white ground,
/// and a quiet frame, tics and grid for what is plotted on it.
std::string page(const std::string& path, int width, int height);

/// Draws `path`, which ends in .svg or .png, by the commands that `script` gives for the file drawn to; then that file takes its place.
/// Gives "" if it was drawn, else why not: no gnuplot, or gnuplot's own words. Throws IoError if the drawing cannot be put in its place.
std::string draw(const std::string& path, FunctionRef<std::string(const std::string&)> script);

}  // namespace rw::train::plot
