cmake_minimum_required(VERSION 3.25)
# Who may include whom (CONTRIBUTING.md, "Rooms and arrows"). Fails with the file, the include and the remedy.
#   cmake -DROOT=<checkout> -P tests/arrows.cmake
# Each rule: room | what it may include of ours | what to do instead.
set(rules
  "layers/base|layers/base/|layers/base/ knows nothing of images: move what is general down, or the caller up"
  "layers/store|layers/base/,layers/store/,@layers|layers/store/ must not know who uses it: take a value or a callback"
  "layers/import|layers/base/,layers/store/,layers/import/,@layers|layers/import/ makes layers of what lies outside: it must not know who asks for them"
  "layers/recipe|layers/base/,layers/recipe/|the recipe language is pure: hand it text, take values"
  "layers/build|layers/base/,layers/store/,layers/recipe/,layers/build/,@layers|layers/ must not know overlay/ or registry/: declare a port in layers/build/ports.h and implement it there"
  "layers|layers/base/,@layers|layers/ must not know what stands on it: declare a port in layers/build/ports.h, or move the caller up"
  "overlay/fuse|layers/base/,layers/whiteout.h,layers/erofs.h,layers/tree.h,layers/entry.h,layers/digest.h,overlay/fuse/|overlay/fuse/ knows only layers/base/, the whiteout rules and the metadata image's reader"
  "overlay|layers/base/,layers/store/,layers/build/ports.h,@layers,overlay/|overlay/ and registry/ do not know each other: pass values through layers/ or wire them in cmd/wire.cc"
  "registry|layers/base/,layers/store/,layers/build/ports.h,@layers,registry/|overlay/ and registry/ do not know each other: pass values through layers/ or wire them in cmd/wire.cc"
  "cmd|layers/,overlay/,registry/,cmd/|"
)
# Third-party headers and the only files that may include them.
set(pins
  "sqlite3.h|layers/store/database.cc"
  "nlohmann/|layers/base/json.cc"
  "openssl/|layers/base/hash.cc"
  "isa-l|layers/compression_gzip.cc"
  "igzip_lib.h|layers/compression_gzip.cc"
  "zstd.h|layers/compression_zstd.cc,layers/toc.cc"
  "zlib.h|layers/compression_gzip.cc,layers/toc.cc,layers/erofs_format.h"
  "archive.h|layers/compression_libarchive.cc"
  "seccomp.h|overlay/seccomp.cc"
  "sys/capability.h|overlay/capabilities.cc"
  "CLI/|cmd/app.cc,cmd/options.cc"
)

set(failures 0)
function(complain file line text remedy)
  message("${file}: ${line}\n    ${text}\n    remedy: ${remedy}")
  math(EXPR n "${failures} + 1")
  set(failures ${n} PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/layers/*.h ${ROOT}/layers/*.cc ${ROOT}/overlay/*.h
     ${ROOT}/overlay/*.cc ${ROOT}/registry/*.h ${ROOT}/registry/*.cc ${ROOT}/cmd/*.h ${ROOT}/cmd/*.cc)
list(LENGTH files count)
if(count LESS 20)
  message(FATAL_ERROR "only ${count} source files found below '${ROOT}': is ROOT right?")
endif()
foreach(file ${files})
  set(room "")
  foreach(rule ${rules})
    string(REGEX MATCH "^[^|]+" name "${rule}")
    string(LENGTH "${name}/" length)
    string(SUBSTRING "${file}/////////////////////" 0 ${length} start)
    if(room STREQUAL "" AND start STREQUAL "${name}/")
      set(room ${name})
      string(REGEX REPLACE "^[^|]+\\|([^|]*)\\|.*$" "\\1" allowed "${rule}")
      string(REPLACE "," ";" allowed "${allowed}")
      string(REGEX REPLACE "^[^|]+\\|[^|]*\\|(.*)$" "\\1" remedy "${rule}")
    endif()
  endforeach()
  file(STRINGS ${ROOT}/${file} lines REGEX "^ *# *include")
  foreach(line ${lines})
    if(line MATCHES "\"([^\"]+)\"")
      set(included ${CMAKE_MATCH_1})
      if(NOT included MATCHES "/" OR NOT EXISTS ${ROOT}/${included})
        if(NOT included STREQUAL "isa-l.h")
          complain(${file} "${line}" "includes are written from the source root" "write the path from the top folder")
        endif()
        continue()
      endif()
      set(fine FALSE)
      foreach(prefix ${allowed})
        if(prefix STREQUAL "@layers")
          if(included MATCHES "^layers/[^/]+$")
            set(fine TRUE)
          endif()
        else()
          string(FIND "${included}" "${prefix}" at)
          if(at EQUAL 0)
            set(fine TRUE)
          endif()
        endif()
      endforeach()
      if(NOT fine)
        complain(${file} "${line}" "${room}/ must not include this" "${remedy}")
      endif()
    elseif(line MATCHES "<([^>]+)>")
      set(included ${CMAKE_MATCH_1})
      foreach(pin ${pins})
        string(REGEX REPLACE "\\|.*$" "" header "${pin}")
        string(REGEX REPLACE "^[^|]+\\|" "" owners "${pin}")
        string(REPLACE "," ";" owners "${owners}")
        string(FIND "${included}" "${header}" at)
        if(at EQUAL 0 AND NOT file IN_LIST owners)
          complain(${file} "${line}" "<${header}> is wrapped by ${owners}" "call that wrapper, or name the file in tests/arrows.cmake with a reason")
        endif()
      endforeach()
    endif()
  endforeach()
endforeach()
if(failures GREATER 0)
  message(FATAL_ERROR "${failures} arrow(s) point the wrong way")
endif()
message("${count} files, every arrow points down")
