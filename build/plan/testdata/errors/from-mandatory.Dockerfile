FROM ${BASE:?name the base}
