#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/core/safetensors.hpp>
#include <rewind/train/plot.hpp>
#include <rewind/train/process.hpp>

namespace rw::train::plot {

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (char c : text) result += c == '\'' ? std::string("''") : std::string(1, c == '\n' ? ' ' : c);
  return result + "'";
}

std::string page(const std::string& path, int width, int height) {
  std::string s = path.ends_with(".png")
                      ? fmt::format("set terminal pngcairo size {},{} font 'DejaVu Sans,13' background '#ffffff'; ", width, height)
                      : fmt::format("set terminal svg size {},{} font 'DejaVu Sans,Helvetica,Arial,sans-serif,14' background '#ffffff'; ",
                                    width * 4 / 5, height * 4 / 5);
  s += fmt::format("set output {}; set datafile separator ','; ", quoted(path));
  s += "set border 11 linecolor '#888888' linewidth 1; set tics nomirror out scale 0.6 textcolor '#444444'; ";
  return s + "set grid xtics ytics linetype 1 linecolor '#e4e4e4' linewidth 1; ";
}

std::string draw(const std::string& path, FunctionRef<std::string(const std::string&)> script) {
  const std::string part = path + ".part" + (path.ends_with(".png") ? ".png" : ".svg");
  const ProcessResult result = run_process({"gnuplot", "-e", script(part)});
  if (result.status == 127) return "there is no gnuplot (Debian's gnuplot-nox)";
  if (result.status != 0) {
    ::unlink(part.c_str());
    return "gnuplot: " + result.first_words;
  }
  io::write_file(path, io::read_file(part));
  ::unlink(part.c_str());
  return "";
}

}  // namespace rw::train::plot
