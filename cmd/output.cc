#include "cmd/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "layers/base/file.h"

namespace surcoat::cmd {

void print(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) throw_errno("write to standard output");
}

void say(std::string_view text) { fmt::print(stderr, "{}\n", text); }

void print_error(const Error& error) {
    std::fflush(stdout);
    std::string text;
    const auto add = [&](const char* label, std::string_view words) {
        text += label;
        // Line by line: diagnostics have several, and what is in them may come from a hostile image.
        for (std::size_t at = 0; at <= words.size();) {
            const std::size_t end = std::min(words.find('\n', at), words.size());
            text += printable(words.substr(at, end - at)) + "\n";
            at = end + 1;
        }
    };
    add("surcoat: ", error.causes().front());
    for (std::size_t i = 1; i < error.causes().size(); ++i) add("  because: ", error.causes()[i]);
    if (!error.hint().empty()) add("  hint: ", error.hint());
    std::fputs(text.c_str(), stderr);
}

std::string human_bytes(std::uint64_t bytes) {
    static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
        value /= 1024;
        ++unit;
    }
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_age(std::int64_t at) {
    const std::int64_t age = std::max<std::int64_t>(0, std::time(nullptr) - at);
    const auto say_it = [](std::int64_t n, const char* unit) { return fmt::format("{} {}{} ago", n, unit, n == 1 ? "" : "s"); };
    if (at == 0) return "-";
    if (age < 60) return say_it(age, "second");
    if (age < 3600) return say_it(age / 60, "minute");
    if (age < 86400) return say_it(age / 3600, "hour");
    if (age < 86400 * 60) return say_it(age / 86400, "day");
    if (age < 86400 * 730) return say_it(age / (86400 * 30), "month");
    return say_it(age / (86400 * 365), "year");
}

std::string human_duration(std::chrono::nanoseconds duration) {
    const double seconds = std::chrono::duration<double>(duration).count();
    if (seconds < 0.1) return fmt::format("{:.0f}ms", seconds * 1000);
    if (seconds < 100) return fmt::format("{:.1f}s", seconds);
    return fmt::format("{:.0f}m{:02.0f}s", seconds / 60, static_cast<double>(static_cast<int>(seconds) % 60));
}

std::string printable(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        std::size_t length = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
        bool fine = length != 0 && i + length <= text.size() && c != 0x7F && c >= 0x20;
        for (std::size_t k = 1; fine && k < length; ++k) fine = (static_cast<unsigned char>(text[i + k]) & 0xC0) == 0x80;
        if (c == 0xC2 && fine && static_cast<unsigned char>(text[i + 1]) < 0xA0) fine = false;  // C1 controls
        if (fine) {
            out.append(text.substr(i, length));
            i += length;
        } else {
            out += fmt::format("\\x{:02x}", c);
            ++i;
        }
    }
    return out;
}

std::string saved_percent(std::uint64_t whole, std::uint64_t part) {
    if (whole == 0 || part >= whole) return "0%";
    const double percent = 100.0 * (1.0 - static_cast<double>(part) / static_cast<double>(whole));
    return percent > 99 && percent < 100 ? fmt::format("{:.2f}%", std::min(percent, 99.99)) : fmt::format("{:.0f}%", percent);
}

void write_output(const std::string& where, const char* verb, const std::function<void(ByteSink&)>& write) {
    if (where == "-") {
        if (::isatty(STDOUT_FILENO) != 0) {
            throw Error(Errc::invalid, fmt::format("{}: refusing to write an archive to a terminal", verb)).hint("use -o FILE, or redirect");
        }
        FdSink sink(STDOUT_FILENO);
        write(sink);
        return;
    }
    // A device, a fifo, /dev/stdout: written to as it is. Renaming would put a file in its place.
    if (std::filesystem::exists(where) && !std::filesystem::is_regular_file(where)) {
        UniqueFd fd = open_file(where, O_WRONLY);
        FdSink sink(fd.get());
        write(sink);
        fd.close();
        return;
    }
    const std::filesystem::path target = std::filesystem::weakly_canonical(where);  // through a symlink, not over it
    const std::string temporary = fmt::format("{}.{}.part", target.string(), ::getpid());
    try {
        UniqueFd fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL);
        FdSink sink(fd.get());
        write(sink);
        fsync_fd(fd.get());
        fd.close();
        rename_file(temporary, target);
    } catch (...) {
        ::unlink(temporary.c_str());
        throw;
    }
}

Table::Table(std::vector<std::string> headings, std::vector<std::size_t> right) : right_(std::move(right)) {
    rows_.push_back(std::move(headings));
}

void Table::row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

namespace {

std::size_t width_of(std::string_view text) {
    std::size_t width = 0;
    for (const char c : text) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
    return width;
}

}  // namespace

void Table::print() const {
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    std::string text;
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string pad(widths[i] - width_of(row[i]), ' ');
            const bool right = std::find(right_.begin(), right_.end(), i) != right_.end();
            if (i != 0) line += "   ";
            line += right ? pad + row[i] : row[i] + pad;
        }
        while (!line.empty() && line.back() == ' ') line.pop_back();
        text += line + '\n';
    }
    cmd::print(text);
}

Json document(Store& store, const std::string& verb, Json items) {
    Json json = Json::object();
    json.set("schema", "surcoat." + verb + "/1");
    json.set("store", store.root().string());
    json.set("generation", store.catalogue().generation());
    json.set("items", std::move(items));
    return json;
}

}  // namespace surcoat::cmd
