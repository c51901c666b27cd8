# Writes OUTPUT: the files below ROOT as C arrays, in two tables. a/b.lua is
# module "a.b", a/init.lua is module "a"; what lies in types/ is no module but
# definitions of one, for the language server.
set(arrays "")
set(modules "")
set(types "")
set(index 0)
foreach(file IN LISTS FILES)
  string(REGEX REPLACE "^types/" "" path "${file}")
  string(REGEX REPLACE "(/init)?\\.lua$" "" module "${path}")
  string(REPLACE "/" "." module "${module}")
  file(READ "${ROOT}/${file}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays
         "static const unsigned char file_${index}[] = {${bytes}0};\n")
  set(entry "    {\"${module}\", \"@${path}\", "
            "(const char *)file_${index}, sizeof file_${index} - 1},\n")
  string(CONCAT entry ${entry})
  if(file STREQUAL path)
    string(APPEND modules "${entry}")
  else()
    string(APPEND types "${entry}")
  endif()
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE "${OUTPUT}"
     "#include \"script/vm/embedded.h\"\n\n#include \"base/mem.h\"\n\n${arrays}\n"
     "const struct lm_embedded lm_embedded_modules[] = {\n${modules}};\n"
     "const size_t lm_embedded_count = LM_COUNT(lm_embedded_modules);\n\n"
     "const struct lm_embedded lm_embedded_types[] = {\n${types}};\n"
     "const size_t lm_embedded_type_count = LM_COUNT(lm_embedded_types);\n")
