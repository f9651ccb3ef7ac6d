#include <rewind/autograd/structs.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

std::string_view member_name(std::string_view spelling) {
  auto end = spelling.rfind(')', spelling.rfind(';'));  // a local type's function has parentheses of its own, further left
  auto member = spelling.substr(0, end);
  return member.substr(member.rfind(':') + 1);
}

std::string_view type_name(std::string_view spelling) {
  auto begin = spelling.find("T = ") + 4;
  auto end = spelling.find_first_of(";]<", begin);
  auto name = spelling.substr(begin, end - begin);
  auto colon = name.rfind(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

std::string join(const std::string& path, std::string_view name) {
  if (path.empty()) return std::string(name);
  return path + "." + std::string(name);
}

void struct_mismatch(const char* op, std::size_t wanted, std::size_t got) {
  fail<ValueError>("{}: the structs differ: {} variables, and {} (vectors in both must have the same lengths)", op, wanted, got);
}

}  // namespace rw::detail
