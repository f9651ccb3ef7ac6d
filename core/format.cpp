// fmt's own functions, compiled here and nowhere else (4 s a file otherwise): this file sees fmt as header-only, all others its light
// header. They stay weak symbols, so a program that links fmt itself has no quarrel with them.
#include <fmt/format.h>

namespace rw::detail {

extern std::string (*const format_string)(fmt::string_view, fmt::format_args);
extern void (*const format_print)(fmt::string_view, fmt::format_args);
extern void (*const format_print_file)(std::FILE*, fmt::string_view, fmt::format_args);

std::string (*const format_string)(fmt::string_view, fmt::format_args) = &fmt::vformat;
void (*const format_print)(fmt::string_view, fmt::format_args) = &fmt::vprint;
void (*const format_print_file)(std::FILE*, fmt::string_view, fmt::format_args) = &fmt::vprint;

}  // namespace rw::detail
