#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/base/bytes.h"
#include "layers/base/error.h"
#include "layers/base/json.h"
#include "layers/store/store.h"

namespace surcoat::cmd {

/// Data goes to stdout, talk to stderr.
void print(std::string_view text);    ///< stdout
void say(std::string_view text);      ///< stderr, one line
void print_error(const Error& error); ///< "surcoat: …", causes, hint

/// "117.0 MiB", "512 B": IEC units, one decimal from KiB on.
std::string human_bytes(std::uint64_t bytes);
/// "3 minutes ago"
std::string human_age(std::int64_t seconds_since_1970);
std::string human_duration(std::chrono::nanoseconds duration);
/// Control characters and bytes that are not UTF-8 as \xNN, so that a hostile name cannot drive a terminal.
std::string printable(std::string_view text);
/// "63%" of `whole` that is not in `part`.
std::string saved_percent(std::uint64_t whole, std::uint64_t part);

/// Writes an archive through `write` to a file, or to standard output for "-" (refused on a terminal). A file is
/// complete or not there at all: a reader never finds half an archive under the name it was given.
void write_output(const std::string& where, const char* verb, const std::function<void(ByteSink&)>& write);

/// Columns as wide as they need to be; the first row is the heading. `right`: indices of right-aligned columns.
class Table {
  public:
    explicit Table(std::vector<std::string> headings, std::vector<std::size_t> right = {});
    void row(std::vector<std::string> cells);
    void print() const;

  private:
    std::vector<std::vector<std::string>> rows_;
    std::vector<std::size_t> right_;
};

/// {"schema":"surcoat.images/1","store":…,"generation":…,"items":[…]}
Json document(Store& store, const std::string& verb, Json items);

}  // namespace surcoat::cmd
