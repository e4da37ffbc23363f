//! A plan as SQL: tables, views, columns, each step with what undoes it.
