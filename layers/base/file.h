#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "layers/base/bytes.h"
#include "layers/base/unique_fd.h"

namespace surcoat {

/// open(2) with O_CLOEXEC, retried on EINTR. Throws with the path in the message.
/// For paths of the host and of the store; a path out of an image goes through RootDir.
UniqueFd open_file(const std::filesystem::path& path, int flags, mode_t mode = 0644);
UniqueFd open_file_at(int dirfd, const std::string& name, int flags, mode_t mode = 0644);
/// Nothing if it does not exist.
std::optional<UniqueFd> try_open_file(const std::filesystem::path& path, int flags);

/// The whole file. Throws Errc::invalid over `limit` bytes.
std::string read_file(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);
std::string read_file(int fd, std::size_t limit = std::size_t{1} << 30);
void write_full(int fd, ByteSpan bytes);
void pwrite_full(int fd, ByteSpan bytes, std::uint64_t offset);
/// Returns how many bytes there were before the end.
std::size_t pread_full(int fd, MutableByteSpan buffer, std::uint64_t offset);

/// Replaces `path` so that a reader sees the old bytes or the new ones, and the new ones survive power
/// loss once this returns: temporary name, fsync, rename, fsync of the directory.
void write_file_durably(const std::filesystem::path& path, std::string_view text, mode_t mode = 0644);

void fsync_fd(int fd);
void fsync_directory(const std::filesystem::path& path);
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
/// True if there was one.
bool remove_file(const std::filesystem::path& path);
/// mkdir -p with mode 0755 (or `mode` for those it makes).
void make_directories(const std::filesystem::path& path, mode_t mode = 0755);
/// Removes a tree without following links or crossing into another filesystem; absent is fine. Directories
/// without permission bits are made removable first.
void remove_tree(const std::filesystem::path& path);

struct stat stat_fd(int fd);
/// lstat(2); nothing if absent.
std::optional<struct stat> lstat_path(const std::filesystem::path& path);

/// Copies `size` bytes of `from` (from its offset 0) to `to`, by reflink where the filesystem can, else by
/// copy_file_range, keeping holes. Returns true if it was a reflink.
bool copy_contents(int from, int to, std::uint64_t size);

}  // namespace surcoat
