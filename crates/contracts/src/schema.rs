//! JSON Schemas of all events and the AsyncAPI document of the bus, made from the types.
