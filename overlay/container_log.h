#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "layers/base/unique_fd.h"

namespace surcoat::overlay {

/// What a detached container prints: `containers/<id>/log`, one JSON object a line as docker's json-file
/// driver writes it: {"log":"text\n","stream":"stdout","time":"2026-11-22T17:00:00.000000001Z"}. A line over
/// 16 KiB, or without a newline at the end of the output, is written in parts without "\n".
/// Bytes that are not UTF-8 become U+FFFD, as in docker.

/// Collects one stream's lines. From one thread.
class LogWriter {
  public:
    LogWriter(int log_fd, std::string stream) : fd_(log_fd), stream_(std::move(stream)) {}
    void add(std::string_view bytes);
    /// Writes what has no newline yet.
    void flush();

  private:
    void write_line(std::string_view text, std::string& batch) const;
    int fd_;
    std::string stream_;
    std::string rest_;
};

/// Copies `out_pipe` and `err_pipe` (-1: none) into the log until both have ended.
void pump_to_log(int log_fd, UniqueFd out_pipe, UniqueFd err_pipe);

/// Reads the log and writes what the container wrote, each stream to its descriptor. `tail`: only so many
/// lines of what is there. `ended` (null: do not follow): a descriptor that polls readable once nothing more
/// will be written. Throws Errc::not_found if there is no log.
void copy_log(const std::filesystem::path& file, int out, int err, std::optional<std::size_t> tail,
              const UniqueFd* ended);

}  // namespace surcoat::overlay
