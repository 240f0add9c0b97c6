/**
 * The three functions of the metadata-reflection proposal that @peculiar/x509's injection container asks for when it is
 * loaded. A WeakMap does, so the tests need no polyfill package.
 */
const store = new WeakMap<object, Map<unknown, unknown>>();

const own = (key: unknown, target: object): unknown => store.get(target)?.get(key);

Object.assign(Reflect, {
  getOwnMetadata: own,
  getMetadata(key: unknown, target: object): unknown {
    for (let at: object | null = target; at; at = Object.getPrototypeOf(at) as object | null) {
      const value = own(key, at);
      if (value !== undefined) return value;
    }
    return undefined;
  },
  defineMetadata(key: unknown, value: unknown, target: object): void {
    if (!store.has(target)) store.set(target, new Map());
    store.get(target)!.set(key, value);
  },
});
